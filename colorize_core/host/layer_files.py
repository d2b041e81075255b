"""Layered files in ComfyUI's output folder, numbered as Save Image does, each beside a picture with the workflow."""

import errno
import shutil
import tempfile
from pathlib import Path

import folder_paths
import numpy as np
import torch
from comfy_api.latest import io, ui

from ..files import atomic_write
from ..images import checked_mask, rgb_on
from ..layers.files import page_layers, write_ora, write_psd
from ..sketch import crop_to

WRITERS = {"psd": write_psd, "ora": write_ora}


def save_layers(
    node: type[io.ComfyNode],
    filename_prefix: str,
    file_format: str,
    sketch: torch.Tensor,
    color: torch.Tensor,
    split_flats: bool,
    flats: torch.Tensor | None = None,
    lines: torch.Tensor | None = None,
    reference: torch.Tensor | None = None,
    ink: torch.Tensor | None = None,
) -> ui.SavedImages:
    """Saves a file of layers for each drawing of `sketch` [B,H,W,C], and its merged picture as .png beside it.

    Pictures are in 0..1; `color` and `reference` may have any size, `flats` [b,H,W,C] and `lines` [b,H,W] have the
    drawing's. Fewer of one repeat. `ink` [3] is the color of the lines instead of their own. `node` holds the workflow
    that the .png carries.
    Raises ValueError for flats and lines of another size.
    """
    size = tuple(sketch.shape[1:3])
    for name, layer in (("flats", flats), ("lines", lines)):
        if layer is not None and tuple(layer.shape[-3:-1] if name == "flats" else layer.shape[-2:]) != size:
            raise ValueError(f"{name}: its size is not that of sketch. Connect what was made from the same drawing.")
    saved = []
    for number in range(max(len(sketch), len(color))):
        drawing = _pick(sketch, number, "sketch")
        parts = [
            _bytes(crop_to(_pick(color, number, "color"), drawing, resize_to_sketch=True)),
            None if flats is None else _bytes(_pick(flats, number, "flats")),
            None if lines is None else _bytes(checked_mask(lines, "lines")[number % len(lines)][None]),
            None if reference is None else _bytes(_pick(reference, number, "reference")),
        ]
        line_color = None if ink is None else _bytes(ink[None])
        layers, merged = page_layers(_bytes(drawing), *parts, split_flats=split_flats, ink=line_color)
        saved += _save(node, filename_prefix, file_format, layers, merged)
    return ui.SavedImages(saved)


def _save(node, filename_prefix, file_format, layers, merged) -> list[ui.SavedResult]:
    """Both files of one page, or none.

    The layers are written into the temp folder, which the host empties when it starts: not even a ComfyUI that is
    killed meanwhile leaves half a file behind.
    """
    temp = Path(folder_paths.get_temp_directory())
    temp.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=temp) as folder:
        written = Path(folder, f"layers.{file_format}")
        WRITERS[file_format](written, layers, merged)
        saved = _save_picture(node, filename_prefix, merged)
        path = Path(folder_paths.get_output_directory(), saved[0]["subfolder"], saved[0]["filename"])
        try:
            with atomic_write(path.with_suffix(f".{file_format}")) as unfinished:
                shutil.move(written, unfinished)
        except BaseException:
            path.unlink()
            raise
    return saved


def _save_picture(node, filename_prefix, merged) -> list[ui.SavedResult]:
    """The merged picture, by the host. ValueError for a name that it cannot have."""
    picture = torch.from_numpy(merged.astype(np.float32) / 255)[None]
    try:
        return ui.ImageSaveHelper.save_images(picture, filename_prefix, io.FolderType.output, node)
    except (ValueError, UnicodeError) as error:  # what the system takes for no name at all
        raise ValueError(f"filename_prefix: no file can have this name ({error}). Write another.") from error
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.EINVAL):
            raise ValueError(f"filename_prefix: no file can have this name ({error.strerror}). Shorten it.") from error
        raise
    except Exception as error:
        if type(error) is Exception:  # how the host refuses a folder that is not its own
            raise ValueError(
                "filename_prefix: it leads out of the output folder. Write a name without `..`."
            ) from error
        raise


def _pick(images: torch.Tensor, number: int, name: str) -> torch.Tensor:
    """Picture [1,H,W,3] of that number of `images` [B,H,W,C], on white; they repeat."""
    return rgb_on(images[number % len(images)][None], paper=1.0, name=name)


def _bytes(image: torch.Tensor) -> np.ndarray:
    """The only picture of `image` [1,...] in 0..1 as uint8 [...]."""
    return (image[0].clamp(0, 1) * 255).round().byte().cpu().numpy()

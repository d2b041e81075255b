"""Layered pictures as files: PSD by psd-tools, and OpenRaster (openraster.org, "OpenRaster 0.0.6 baseline")."""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from ..files import atomic_write

PSD_LARGEST = 30000  # pixels: the format's limit for a side
MOST_FLATS = 256  # layers: a picture of more colors is not flat
THUMBNAIL = 256  # pixels
BLACKEST = 0.1  # ink whose lightest part is on average above this is colored


@dataclass(frozen=True)
class Layer:
    """A layer of a picture: `pixels` is RGB or RGBA, its top left corner at `left`, `top`; a `group` may gather it."""

    name: str
    pixels: Image.Image
    left: int = 0
    top: int = 0
    multiply: bool = False
    visible: bool = True
    group: str = ""


def page_layers(
    drawing: np.ndarray,
    color: np.ndarray,
    flats: np.ndarray | None = None,
    lines: np.ndarray | None = None,
    reference: np.ndarray | None = None,
    split_flats: bool = False,
    ink: np.ndarray | None = None,
) -> tuple[list[Layer], np.ndarray]:
    """The layers of a page from bottom to top, and the picture [H,W,3] that they make together.

    Pictures are uint8 [H,W,3], `lines` [H,W] is the ink's opacity and `ink` [3] its color instead of the drawing's own;
    without both the drawing itself is multiplied over the color. Raises ValueError where `flats` has too many colors
    to be split.
    """
    layers = []
    if reference is not None:
        picture = Image.fromarray(reference)
        picture.thumbnail((drawing.shape[1], drawing.shape[0]))
        layers.append(Layer("Reference", picture, visible=False))
    layers.append(Layer("Color", Image.fromarray(color)))
    if flats is not None:
        layers += split_by_color(flats) if split_flats else [Layer("Flats", Image.fromarray(flats))]
    if lines is None and ink is None:
        pixels, multiply = drawing, True
    else:
        pixels = line_pixels(drawing, 255 - drawing.min(axis=-1) if lines is None else lines, ink)
        multiply = not _is_colored(pixels)  # black looks the same either way, and a color would turn dark
    layers.append(Layer("Lines", Image.fromarray(pixels), multiply=multiply))
    return layers, _merged(color if flats is None else flats, pixels, multiply)


def line_pixels(drawing: np.ndarray, lines: np.ndarray, ink: np.ndarray | None = None) -> np.ndarray:
    """Lines alone, uint8 [H,W,4]: of opacity `lines` [H,W], their color `ink` [3] or that of `drawing` [H,W,3]."""
    pixels = np.empty((*lines.shape, 4), np.uint8)
    pixels[..., 3] = lines
    if ink is not None:
        pixels[..., :3] = ink
        return pixels
    white = drawing.min(axis=-1)
    opacity = np.maximum(255 - white, 1).astype(np.uint16)
    for channel in range(3):
        pixels[..., channel] = ((drawing[..., channel] - white) * np.uint16(255) + opacity // 2) // opacity
    return pixels


def _is_colored(pixels: np.ndarray) -> bool:
    """Whether the lines `pixels` [H,W,4], where they are strong, are of another color than black."""
    strong = pixels[pixels[..., 3] > 127]
    return bool(len(strong) and strong[:, :3].max(axis=-1).mean() > 255 * BLACKEST)


def _merged(under: np.ndarray, pixels: np.ndarray, multiply: bool) -> np.ndarray:
    """What lines `pixels` [H,W,3 or 4] look like over `under` [H,W,3], all uint8."""
    merged = np.empty_like(under)
    opacity = pixels[..., 3].astype(np.float32) / 255 if pixels.shape[-1] == 4 else 1
    for channel in range(3):
        below, top = under[..., channel].astype(np.float32), pixels[..., channel].astype(np.float32)
        if multiply:
            top *= below / 255
        merged[..., channel] = below + (top - below) * opacity + 0.5
    return merged


def split_by_color(flats: np.ndarray) -> list[Layer]:
    """A layer for each color of `flats` uint8 [H,W,3], named by its hex code, the most common lowest, in one group."""
    packed = flats[..., 0].astype(np.int32) << 16 | flats[..., 1].astype(np.int32) << 8 | flats[..., 2]
    counts = np.bincount(packed.ravel())
    colors = np.flatnonzero(counts)
    if len(colors) > MOST_FLATS:
        raise ValueError(
            f"flats: it has {len(colors)} colors, more than {MOST_FLATS} layers. Connect Flat Colors' flats, or turn "
            "split_flats off."
        )
    layers = []
    for color in colors[np.argsort(-counts[colors], kind="stable")]:
        there = packed == color
        rows, columns = (np.flatnonzero(there.any(axis=axis)) for axis in (1, 0))
        top, left = rows[0], columns[0]
        alpha = Image.fromarray(there[top : rows[-1] + 1, left : columns[-1] + 1])
        code = f"#{color:06x}"
        pixels = Image.new("RGB", alpha.size, code)
        pixels.putalpha(alpha.convert("L"))
        layers.append(Layer(code, pixels, int(left), int(top), group="Flats"))
    return layers


def write_psd(path: Path, layers: list[Layer], merged: np.ndarray) -> None:
    """Writes a PSD in sRGB: `layers` from bottom to top, and `merged` uint8 [H,W,3], what they look like together.

    Raises ValueError for pictures larger than the format allows.
    """
    from PIL import ImageCms
    from psd_tools import PSDImage
    from psd_tools.constants import BlendMode, Resource
    from psd_tools.psd.image_resources import ImageResource

    class Merged(PSDImage):
        pil_mode = "RGBA"  # of layers: else their transparency would become a mask

        def is_updated(self) -> bool:
            return False  # the merged picture is ours: nothing to render again

    if max(merged.shape) > PSD_LARGEST:
        raise ValueError(f"sketch: PSD holds at most {PSD_LARGEST} pixels a side. Choose the format ora.")
    psd = Merged.frompil(Image.fromarray(merged))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    psd.image_resources[Resource.ICC_PROFILE] = ImageResource(key=Resource.ICC_PROFILE, data=profile)
    groups = {}
    for layer in layers:
        parent = psd
        if layer.group:
            parent = groups.get(layer.group) or groups.setdefault(layer.group, psd.create_group(name=layer.group))
        mode = BlendMode.MULTIPLY if layer.multiply else BlendMode.NORMAL
        drawn = parent.create_pixel_layer(layer.pixels, layer.name, layer.top, layer.left, blend_mode=mode)
        drawn.visible = layer.visible
    with atomic_write(path) as unfinished:
        psd.save(unfinished)


def write_ora(path: Path, layers: list[Layer], merged: np.ndarray) -> None:
    """Writes an OpenRaster file: `layers` from bottom to top, and `merged` uint8 [H,W,3], what they look like."""
    picture = Image.fromarray(merged)
    image = ElementTree.Element("image", version="0.0.6", w=str(picture.width), h=str(picture.height))
    root = ElementTree.SubElement(image, "stack")
    groups = {}
    with atomic_write(path) as unfinished, zipfile.ZipFile(unfinished, "w") as archive:
        archive.writestr("mimetype", "image/openraster")  # the format wants it first, and stored
        for number, layer in reversed(list(enumerate(layers))):  # top first
            stack = root
            if layer.group:
                if layer.group not in groups:
                    groups[layer.group] = ElementTree.SubElement(root, "stack", name=layer.group)
                stack = groups[layer.group]
            source = f"data/{number:03}.png"
            archive.writestr(source, _png(layer.pixels))
            entry = {"name": layer.name, "src": source, "x": str(layer.left), "y": str(layer.top)}
            entry["visibility"] = "visible" if layer.visible else "hidden"
            entry["composite-op"] = "svg:multiply" if layer.multiply else "svg:src-over"
            ElementTree.SubElement(stack, "layer", entry)
        archive.writestr("stack.xml", ElementTree.tostring(image, "UTF-8", xml_declaration=True))
        archive.writestr("mergedimage.png", _png(picture))
        picture.thumbnail((THUMBNAIL, THUMBNAIL))
        archive.writestr("Thumbnails/thumbnail.png", _png(picture))


def _png(picture: Image.Image) -> bytes:
    packed = io.BytesIO()
    picture.save(packed, "PNG", compress_level=1)
    return packed.getvalue()

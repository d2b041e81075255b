"""The sketch's hints: made once for a run, at the latent's size, and added to the UNet's input blocks."""

from collections.abc import Sequence

import comfy.conds
import comfy.utils
import torch
import torch.nn.functional as F

from ..guidance import check_count
from ..images import same_aspect
from ..sketch import BLANK, LATENT_DOWNSCALE, Sketch
from .feature import Feature, UNetPass, Wish
from .options import with_patch

# Keys of a CONDITIONING.
SKETCH = "colorize_sketch"  # [B,3,H,W] in -1..1, white lines on black
SKETCH_STRENGTH = "colorize_sketch_strength"
SKETCH_PER_SCALE = "colorize_sketch_per_scale"  # a list of a factor for each map

POSITION = "sketch_position"  # keyword of a pass: row and column, in the picture, of each latent pixel [B,2,h,w]
MAPS = "colorize_hints"  # key of transformer_options within a pass: the maps by their input block


class CONDHint(comfy.conds.CONDRegular):
    """A map [B,C,1,ceil(H/downscale),ceil(W/downscale)] that goes with a latent [B,4,H,W], cropped with an area.

    Nodes that cut the picture into tiles cut what has four dimensions, with no regard to the `downscale`: of tiles,
    CONDPosition says where they lie, and `under` finds the map's part.
    """

    def __init__(self, cond: torch.Tensor, downscale: int):
        super().__init__(cond)
        self.downscale = downscale

    def _copy_with(self, cond):
        return self.__class__(cond, self.downscale)

    def process_cond(self, batch_size, area, **kwargs):
        """`area` is (height, width, top, left) in latent pixels, or None for all of it."""
        cropped = self.cond
        if area is not None:
            height, width, top, left = area
            cropped = cropped.narrow(-2, top // self.downscale, -(-height // self.downscale))
            cropped = cropped.narrow(-1, left // self.downscale, -(-width // self.downscale))
        return self._copy_with(comfy.utils.repeat_to_batch_size(cropped, batch_size))


class CONDPosition(comfy.conds.CONDRegular):
    """Row and column of each latent pixel [1,2,H,W], counted from the corner of the area, as the maps are."""

    def process_cond(self, batch_size, area, **kwargs):
        position = self.cond
        if area is not None:
            height, width, *_ = area
            position = position[..., :height, :width]
        return self._copy_with(comfy.utils.repeat_to_batch_size(position, batch_size))


def hint_names(count: int) -> tuple[str, ...]:
    """The keywords by which a UNet takes `count` maps."""
    return tuple(f"hint_{k}" for k in range(count))


def entries(wish: Wish) -> dict:
    sketch = wish.sketch
    values = {SKETCH: sketch.pixels, SKETCH_STRENGTH: sketch.strength}
    return values | ({SKETCH_PER_SCALE: list(sketch.per_scale)} if sketch.per_scale else {})


def conds(model, cond: dict) -> dict:
    latent = cond["noise"]
    pixels = Sketch(cond[SKETCH]).pixels if SKETCH in cond else None  # it refuses other shapes
    check_aspect(latent, pixels)
    downscales = model.config.version.hints.downscales
    strength, per_scale = cond.get(SKETCH_STRENGTH, 1.0), cond.get(SKETCH_PER_SCALE, [1.0] * len(downscales))
    check_count(per_scale, len(downscales), "per_scale")
    maps = encode_sketch(model, pixels, latent, cond["device"])
    scaled = [hint * (strength * factor) for hint, factor in zip(maps, per_scale, strict=True)]
    names = hint_names(len(maps))
    out = {
        name: CONDHint(hint.unsqueeze(2), downscale)
        for name, hint, downscale in zip(names, scaled, downscales, strict=True)
    }
    height, width = (torch.arange(side, device=cond["device"]) for side in latent.shape[2:])
    out[POSITION] = CONDPosition(torch.stack(torch.meshgrid(height, width, indexing="ij"))[None])
    return out


def options(unet_pass: UNetPass, options: dict) -> dict:
    hints = unet_pass.unet.config.version.hints
    maps = [unet_pass.keywords.pop(name, None) for name in hint_names(len(hints.blocks))]
    position = unet_pass.keywords.pop(POSITION, None)
    if position is not None:
        pairs = zip(maps, hints.downscales, strict=True)
        maps = [under(position, hint.squeeze(2), downscale) for hint, downscale in pairs]
    return with_patch(with_maps(unet_pass.unet, options, maps), "input_block_patch", add_hint, first=True)


FEATURE = Feature(entries=entries, conds=conds, options=options)


def under(position: torch.Tensor, hint: torch.Tensor, downscale: int) -> torch.Tensor:
    """The part of a map [B,C,H,W] that is under the latent pixels of which `position` [B,2,h,w] says where they lie:
    all of it, if the pass is not over a tile of the picture."""
    rows, columns = position[:, 0, ::downscale, 0] // downscale, position[:, 1, 0, ::downscale] // downscale
    if hint.shape[2:] == (rows.shape[1], columns.shape[1]):
        return hint
    row_of_batch = torch.arange(len(hint), device=hint.device)[:, None, None]
    return hint[row_of_batch, :, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


def with_maps(unet, options: dict, maps: Sequence[torch.Tensor | None]) -> dict:
    """`options` for a pass of `unet` with these maps, or with none where they are None."""
    return options | {MAPS: dict(zip(unet.config.version.hints.blocks, maps, strict=True))}


def add_hint(h: torch.Tensor, transformer_options: dict) -> torch.Tensor:
    """An `input_block_patch` that adds a block's hint to its output, at the size another patch may have given it."""
    hint = transformer_options[MAPS].get(transformer_options["block"][1])
    if hint is None:
        return h
    if hint.shape[-2:] != h.shape[-2:]:
        hint = F.interpolate(hint, size=h.shape[-2:], mode="bilinear")
    return h + hint


@torch.no_grad()  # where the host trains, a sketch made in inference mode could not be differentiated through
def encode_sketch(model, pixels: torch.Tensor | None, latent: torch.Tensor, device) -> list[torch.Tensor]:
    """The maps for a `latent` [B,4,H,W] of a sketch [b,3,h,w], resized to it; None is a blank one."""
    size = [side * LATENT_DOWNSCALE for side in latent.shape[2:]]
    if pixels is None:
        pixels = torch.full((1, 3, *size), BLANK)
    pixels = pixels[: latent.shape[0]].to(device)
    if list(pixels.shape[2:]) != size:
        pixels = F.interpolate(pixels, size=size, mode="bilinear", antialias=True)
    return model.diffusion_model.control_encoder(pixels.to(model.get_dtype_inference()))


def check_aspect(latent: torch.Tensor, sketch: torch.Tensor | None) -> None:
    """ValueError for a latent [B,4,H,W] of another aspect ratio than the sketch [b,3,h,w]."""
    height, width = (side * LATENT_DOWNSCALE for side in latent.shape[2:])
    if sketch is not None and not same_aspect(sketch.shape[2:], (height, width)):
        raise ValueError(
            f"latent: it makes a picture of {width}x{height} pixels, of another aspect ratio than the sketch "
            f"({sketch.shape[3]}x{sketch.shape[2]}), which would be stretched. Use the latent of Prepare Sketch, "
            "or prepare the sketch at the picture's size."
        )

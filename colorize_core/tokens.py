"""The reference: from a picture to what the image encoder is fed, and the tokens that come out of it."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from .figure import Figure
from .images import repeat_to, rgb_on, shape_of


@dataclass(frozen=True)
class ReferenceTokens:
    """A reference in CLIP's joint space: `cls` [B,1,D] for the whole, `local` [B,N,D] row-major for its patches.

    Both float32, projected, not normalized. N is 256 (16x16) for a ViT with patches of 14 at 224.
    `tagger` [B,M,E], which XL needs beside them, is what its second image encoder saw; None without one. `regions` have
    references of their own, `figure` keeps figure and background apart. ValueError for both at once, and for tensors of
    other shapes.
    """

    cls: torch.Tensor
    local: torch.Tensor
    tagger: torch.Tensor | None = None
    regions: tuple["Region", ...] = ()
    figure: Figure | None = None

    def __post_init__(self):
        if self.regions and self.figure is not None:
            raise ValueError(
                "tokens: they have both regions and a figure, which do not go together. Use Region Reference or Figure "
                "and Background, not one after the other."
            )
        shapes = [shape_of(self.cls), shape_of(self.local)] + ([] if self.tagger is None else [shape_of(self.tagger)])
        fits = all(len(shape) == 3 and shape[0] == shapes[0][0] for shape in shapes)
        if not (fits and shapes[0][1] == 1 and shapes[0][2] == shapes[1][2]):
            raise ValueError(
                f"tokens: their shapes are {', '.join(map(str, shapes))} where [batch, 1, width] and [batch, tokens, "
                "width] belong. Connect Encode Reference."
            )

    def repeated(self, count: int) -> "ReferenceTokens":
        """`count` references, these in turn; their regions stay."""
        parts = {name: getattr(self, name) for name in ("cls", "local", "tagger")}
        return replace(self, **{name: part if part is None else repeat_to(part, count) for name, part in parts.items()})


@dataclass(frozen=True)
class Region:
    """A part of the sketch with a reference of its own: `mask` [M,H,W] in 0..1 on the sketch, `strength` 0..2.

    ValueError for tokens that have regions themselves, and for masks of another shape.
    """

    tokens: ReferenceTokens
    mask: torch.Tensor
    strength: float = 1.0

    def __post_init__(self):
        if len(shape_of(self.mask)) != 3:
            raise ValueError(
                f"mask: that of a region has the shape {shape_of(self.mask)} where [masks, height, width] belongs. "
                "Connect Region Reference."
            )
        if self.tokens.regions:
            raise ValueError(
                "region_tokens: they have regions themselves. Connect a plain reference there, and chain the regions "
                "by tokens."
            )


def preprocess(image: torch.Tensor, size: int, mean: list[float], std: list[float]) -> torch.Tensor:
    """A reference `image` [B,H,W,C] in 0..1 as CLIP's input [B,3,size,size], normalized with `mean` and `std`.

    Squashed to the square, not cropped: bicubic, antialiased, corners aligned, neither clamped nor rounded,
    as the model saw its references in training. Where it is transparent it shows white.
    Raises ValueError as `images.check` does.
    """
    pixels = rgb_on(image, paper=1.0, name="image").movedim(-1, 1)
    pixels = F.interpolate(pixels, (size, size), mode="bicubic", align_corners=True, antialias=True)
    mean, std = (pixels.new_tensor(values)[:, None, None] for values in (mean, std))
    return (pixels - mean) / std

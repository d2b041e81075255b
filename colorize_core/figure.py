"""Figure and background: which of the two takes its colors from where, and the pictures that say so.

Masks are 1 in the figure. Source: arXiv 2401.01456 (v1), 2502.19937 (v1.5), 2504.06895 (v2),
2603.05971 (XL).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .images import checked_mask, repeat_to, shape_of
from .sketch import LATENT_DOWNSCALE, place

WHITE = 1.0
DIMENSIONS = {"sketch_mask": 3, "background_cls": 3, "background_local": 3, "background_tagger": 3}
DIMENSIONS |= {"reference_latent": 4, "background_latent": 4, "picture_mask": 4}  # of the tensors of a Figure


@dataclass(frozen=True)
class Figure:
    """What keeps figure and background apart in a picture; thresholds and `merging` are 0..1.

    `sketch_mask` [B,h,w] lies on the drawing. Background tokens: `background_cls` [B,1,D], `background_local` [B,N,D],
    and for XL `background_tagger` [B,M,E], of a picture of its own if `background_given`, else of the reference with
    its figure painted white. Latents [B,4,h,w] are those of reference and background stretched to the canvas, sizes
    their own (height, width) in pixels; `picture_mask` [B,1,h,w] is the painted figure's, on the same canvas.
    ValueError for tensors of another number of dimensions.
    """

    background_enhance: bool = True
    foreground_enhance: bool = False
    style_enhance: bool = False
    foreground_strength: float = 1.0
    background_strength: float = 1.0
    merging: float = 0.0
    background_factor: float = 1.0
    sketch_threshold: float = 0.05
    reference_threshold: float = 0.5
    sketch_mask: torch.Tensor | None = None
    background_given: bool = False
    background_cls: torch.Tensor | None = None
    background_local: torch.Tensor | None = None
    background_tagger: torch.Tensor | None = None
    reference_latent: torch.Tensor | None = None
    reference_size: tuple[int, int] | None = None
    background_latent: torch.Tensor | None = None
    background_size: tuple[int, int] | None = None
    picture_mask: torch.Tensor | None = None

    def __post_init__(self):
        for name, dimensions in DIMENSIONS.items():
            part = getattr(self, name)
            if part is not None and len(shape_of(part)) != dimensions:
                raise ValueError(
                    f"tokens: {name} of their figure has the shape {shape_of(part)} where {dimensions} dimensions "
                    "belong. Connect Figure and Background."
                )


def without_figure(image: torch.Tensor, mask: torch.Tensor, threshold: float, name: str) -> torch.Tensor:
    """`image` [B,H,W,3] in 0..1 as [N,H,W,3], white where `mask` [M,h,w] is not below the threshold.

    A mask of another size is stretched; of pictures and masks the fewer repeat. Raises ValueError, naming the mask, as
    `images.checked_mask` does.
    """
    mask = checked_mask(mask, name).to(image.device)[:, None]
    mask = F.interpolate(mask, image.shape[1:3], mode="bilinear", antialias=True).movedim(1, -1)
    count = max(len(image), len(mask))
    return torch.where(repeat_to(mask, count) < threshold, repeat_to(image, count), WHITE)


def stretch(image: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """`image` [B,H,W,3] in 0..1 at the canvas' size as v2's encoders were trained: bicubic, neither antialiased nor
    clamped, whatever its aspect ratio."""
    return F.interpolate(image.movedim(-1, 1), (height, width), mode="bicubic").movedim(1, -1)


def latent_mask(mask: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """`mask` [B,h,w] in 0..1 on the sketch, fitted as the drawing was, for a latent of that size, [B,1,height,width].

    Bicubic, as trained, so that it may leave 0..1 a little at its edges; outside of the drawing it is 0.
    """
    canvas = place(mask, LATENT_DOWNSCALE * height, LATENT_DOWNSCALE * width)
    return resize_mask(canvas[:, None], (height, width))


def nearest_latent_mask(mask: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """As `latent_mask`, but of each 8x8 pixels the first: so XL was trained."""
    canvas = place(mask, LATENT_DOWNSCALE * height, LATENT_DOWNSCALE * width)
    return every_eighth(canvas[:, None])


def every_eighth(mask: torch.Tensor) -> torch.Tensor:
    """The values of `mask` [B,1,8h,8w] at the first pixel of each latent one, [B,1,h,w]."""
    return mask[..., ::LATENT_DOWNSCALE, ::LATENT_DOWNSCALE]


def resize_mask(mask: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """`mask` [B,1,h,w] at another size, float32: bicubic, neither antialiased nor clamped; the same size stays."""
    if tuple(mask.shape[-2:]) == tuple(size):
        return mask.float()
    return F.interpolate(mask.float(), size=tuple(size), mode="bicubic")


def figure_weights(
    figure: torch.Tensor, merging: torch.Tensor, foreground_strength: torch.Tensor, background_strength: torch.Tensor
) -> torch.Tensor:
    """What the figure's tokens and the background's count, [B,2,h,w], where `figure` [B,1,h,w] is true or not.

    In the figure the background is mixed in by `merging`; outside is the background alone; a figure of shares, as XL v2
    has it, is between. The numbers are [B] each.
    """
    merging, foreground_strength, background_strength = (
        number[:, None, None, None] for number in (merging, foreground_strength, background_strength)
    )
    own = figure.to(merging.dtype) * (1 - merging)
    return torch.cat([own * foreground_strength, (1 - own) * background_strength], dim=1)

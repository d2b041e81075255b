"""The drawing's own lines over a color, and the color alone, ending at the lines.

A drawing on white is color under ink: a pixel D has ink of opacity a = 1 - min(D) and, where a > 0, of the color that
gives D over white. So black and gray ink multiply, colored ink keeps its color, and white paper changes nothing.
"""

import numpy as np
import torch
import torch.nn.functional as F

from ..images import resize, rgb_on
from .page import Page, open_page, pairs_of, spread, to_pixels

GLANCE = 8  # pixels: the tone of paper is looked for at every such pixel


def line_opacity(drawing: torch.Tensor) -> torch.Tensor:
    """Opacity of the ink [B,H,W] of a `drawing` [B,H,W,3] on white paper, both in 0..1."""
    return 1 - drawing.amin(dim=-1)


def mostly_ink(sketch: torch.Tensor) -> bool:
    """Whether a drawing of `sketch` [B,H,W,C] in 0..1 is dark over more than half: light lines on dark, it seems."""
    part = rgb_on(sketch[:, ::GLANCE, ::GLANCE], paper=1.0, name="sketch")
    return bool((line_opacity(part).flatten(1).median(dim=1).values > 0.5).any())


def under_lines(
    color: torch.Tensor, drawing: torch.Tensor, ink: torch.Tensor | None = None, opacity: float = 1.0
) -> torch.Tensor:
    """`color` [B,H,W,3] under the lines of `drawing` [B,H,W,3]; `ink` [3] is their color instead of their own.

    At opacity 1 full ink is exactly the ink, and where there is none the color is exactly untouched.
    """
    alpha = line_opacity(drawing)[..., None]
    own = drawing - (1 - alpha) if ink is None else ink.to(color) * alpha
    return (color * (1 - alpha * opacity)).add_(own, alpha=opacity)


def line_layers(
    image: torch.Tensor, sketch: torch.Tensor, ink: torch.Tensor | None = None, opacity: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Color under the drawing's own lines and the color alone [N,H,W,3], and the lines' opacity [N,H,W].

    `image` [B,h,w,C] are the colored pictures, `sketch` [b,H,W,C] the drawings (dark on light), `ink` [3] a color for
    the lines instead of their own. All in 0..1; N is the larger of B and b.
    """
    colors, drawings = [], []
    for picture, drawing in pairs_of(image, sketch):
        colors.append(color_to_lines(picture, line_opacity(drawing)))
        drawings.append(drawing)
    color, drawing = torch.stack(colors), torch.stack(drawings)
    return under_lines(color, drawing, ink, opacity), color, line_opacity(drawing)


def color_to_lines(picture: torch.Tensor, ink: torch.Tensor) -> torch.Tensor:
    """`picture` [3,h,w] at the size of the drawing's `ink` [H,W], its color ending at the lines, [H,W,3].

    Near lines, and under them, it is the color of the area beside; farther than `FARTHEST` pixels from any ink it is
    exactly the resized picture.
    """
    page = open_page(picture, ink.numpy())
    return _guided(resize(picture[None], *ink.shape)[0], page).movedim(0, -1)


def _guided(color: torch.Tensor, page: Page) -> torch.Tensor:
    """`color` [3,H,W] with what lies near ink, or under it, replaced by the page's cleaned color."""
    height, width = color.shape[1:]
    near = to_pixels((page.depth < page.blur) & ~page.solid, page.cell, height, width)
    cleaned = torch.from_numpy(page.color).movedim(-1, 0).contiguous()
    if page.cell == 1:
        return torch.where(torch.from_numpy(near), cleaned, color)
    size = tuple(side * page.cell for side in page.paper.shape)
    cleaned = F.interpolate(cleaned[None], size, mode="bilinear")[0, :, :height, :width]
    clear = to_pixels(page.depth >= 2, page.cell, height, width)  # beside ink a cell mixes both sides
    color = torch.where(torch.from_numpy(near & clear), cleaned, color)
    nearest = spread(clear, near & ~clear, near.size)
    found = np.flatnonzero(near & ~clear & (nearest >= 0))
    pixels = color.flatten(1)
    pixels[:, found] = pixels[:, nearest.ravel()[found]]
    return color

"""The drawing's own lines over a color, and the color alone, ending at the lines.

A drawing on white is color under ink: a pixel D has ink of opacity a = 1 - min(D) and, where a > 0, of the color that
gives D over white. So black and gray ink multiply, colored ink keeps its color, and white paper changes nothing.
"""

import numpy as np
import torch
import torch.nn.functional as F

from ..images import resize
from .page import FARTHEST, Page, open_page, pairs_of, spread, to_pixels


def line_opacity(drawing: torch.Tensor) -> torch.Tensor:
    """Opacity of the ink [B,H,W] of a `drawing` [B,H,W,3] on white paper, both in 0..1."""
    return 1 - drawing.amin(dim=-1)


def under_lines(
    color: torch.Tensor, drawing: torch.Tensor, ink: torch.Tensor | None = None, opacity: float = 1.0
) -> torch.Tensor:
    """`color` [B,H,W,3] under the lines of `drawing` [B,H,W,3]; `ink` [3] is their color instead of their own.

    At opacity 1 full ink is exactly the ink, and where there is none the color is exactly untouched.
    """
    alpha = line_opacity(drawing)[..., None]
    own = drawing - (1 - alpha) if ink is None else ink.to(color) * alpha
    return color * (1 - alpha * opacity) + own * opacity


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
    height, width = ink.shape
    color = resize(picture[None], height, width)[0].movedim(0, -1)
    ink = ink.numpy()
    page = open_page(picture, ink)
    return torch.from_numpy(_guided(color.numpy(), page))


def _guided(color: np.ndarray, page: Page) -> np.ndarray:
    """`color` [H,W,3] with what lies near ink, or under it, replaced by the page's cleaned color."""
    height, width = color.shape[:2]
    touched = (page.depth < page.blur) & ~page.solid
    near = to_pixels(touched, page.cell, height, width)
    out = color.copy()
    if page.cell == 1:
        out[near] = page.color[near]
        return out
    cleaned = torch.from_numpy(page.color).movedim(-1, 0)[None]
    size = tuple(side * page.cell for side in page.paper.shape)
    cleaned = F.interpolate(cleaned, size, mode="bilinear")[0].movedim(0, -1)[:height, :width].numpy()
    clear = to_pixels(page.depth >= 2, page.cell, height, width)  # beside ink a cell mixes both sides
    out[near & clear] = cleaned[near & clear]
    beside = near & ~clear
    nearest = spread(clear, beside, FARTHEST + page.cell)
    found = beside & (nearest >= 0)
    out[found] = out.reshape(-1, 3)[nearest[found]]
    return out

"""A drawing and its colored picture at the size at which areas are found, and the way back to the drawing's own size.

What a colorizer gives is softer than the drawing and lies a few pixels beside it: near a line its color is the line's,
or that of the wrong side. So color near ink is taken from deeper paper of the same area, found by walking on paper.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from ..images import resize, rgb_on
from ..sketch import crop_to

WORKING_SIDE = 1024  # pixels: a larger drawing is looked at in cells of so many pixels that its longer side is this
INK_SHARE = 0.5  # ink darker than this share of the drawing's own full tone parts areas
THIN_SHARE = 0.2  # and so does a thin line that is darker than what is beside it by this share
FAINT_WIDTH = 0.02  # of the drawing's longer side: a faint line is at most so wide
WIDEST = 0.025  # of the drawing's longer side: ink farther from paper than this is no line
FAINTEST_TONE = 0.2  # what is lighter says nothing of how dark the drawing's ink is
BLUR = 3.5  # pixels of the colored picture: how far a line spoils the color beside it
FARTHEST = 24  # pixels of the drawing: color farther than this from ink is never touched
DEPTHS = (1.0, 0.7, 0.5, 0.35, 0.2, 0.0)  # of the blur: how deep paper must be to be trusted, in narrow areas less
REACH = 1.6  # times the depth: how far trusted color is carried
STREAK = 4.0  # cells: trusted color is smoothed by this before it is carried, or each pixel would draw a streak


@dataclass(frozen=True)
class Page:
    """One drawing in cells of `cell` x `cell` pixels; `color` is the cleaned picture, `soft` the picture itself.

    `paper` [h,w] is where no ink parts areas, `depth` [h,w] the distance to ink in cells, `blur` in cells how far a
    line spoils the color beside it, `solid` [h,w] the inside of areas filled with ink; `color`, `soft` [h,w,3] in 0..1.
    """

    cell: int
    paper: np.ndarray
    solid: np.ndarray
    depth: np.ndarray
    blur: float
    soft: np.ndarray
    color: np.ndarray
    line_width: float


def open_page(picture: torch.Tensor, ink: np.ndarray) -> Page:
    """The page of `picture` [3,h,w] in 0..1 (of the drawing's aspect ratio) and the drawing's `ink` [H,W] in 0..1."""
    height, width = ink.shape
    cell = -(-max(height, width) // WORKING_SIDE)
    darkest = _in_cells(ink, cell)
    dark = darkest[darkest > FAINTEST_TONE]
    full = np.percentile(dark, 90) if dark.size else 1
    thin = darkest - ndimage.grey_opening(darkest, 1 + int(max(8, FAINT_WIDTH * max(darkest.shape))))
    paper = (darkest <= INK_SHARE * full) & (thin <= THIN_SHARE * full)
    inked = ~paper
    if not paper.any():  # ink everywhere parts nothing
        paper, inked = inked, paper
    depth = _distance_to(inked)
    inside = _distance_to(paper)
    line_width = _line_width(inside)
    solid = inside > max(4.0, 2 * line_width)
    soft = resize(picture[None], *paper.shape)[0].movedim(0, -1).contiguous().numpy()
    blur = min(BLUR * height / picture.shape[1], FARTHEST) / cell
    color = _cleaned(soft, paper, solid, depth, blur)
    return Page(cell, paper, solid, depth, blur, soft, color, line_width)


def pairs_of(image: torch.Tensor, sketch: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Each colored picture [3,h,w] of `image` with its drawing [H,W,3] of `sketch`, on white; fewer of one repeat.

    The margins that Prepare Sketch added are cut off; a picture of the drawing's shape stays whole.
    """
    for number in range(max(len(image), len(sketch))):
        drawing = rgb_on(sketch[number % len(sketch)][None], paper=1.0, name="sketch")
        picture = crop_to(rgb_on(image[number % len(image)][None], paper=1.0, name="image"), drawing)
        yield picture[0].movedim(-1, 0).cpu(), drawing[0].cpu()


def _in_cells(ink: np.ndarray, cell: int) -> np.ndarray:
    """The darkest ink [h,w] of each cell: no line gets lost."""
    height, width = ink.shape
    if cell == 1:
        return ink
    padded = np.pad(ink, ((0, -height % cell), (0, -width % cell)))
    rows = padded.reshape(-1, cell, padded.shape[1]).max(axis=1)
    return rows.reshape(len(rows), -1, cell).max(axis=2)


def _distance_to(there: np.ndarray) -> np.ndarray:
    """Distance [h,w] in cells to the nearest cell of `there`; the picture's diagonal where there is none."""
    if not there.any():
        return np.full(there.shape, np.hypot(*there.shape), np.float32)
    return ndimage.distance_transform_edt(~there).astype(np.float32)


def _line_width(inside: np.ndarray) -> float:
    """The typical width of lines in cells: twice the median of the ridges of `inside`, the distance to paper."""
    ridge = (
        (inside > 0) & (inside >= ndimage.maximum_filter(inside, 3)) & (inside <= max(3, WIDEST * max(inside.shape)))
    )
    return float(2 * np.median(inside[ridge]) - 1) if ridge.any() else 1.0


def spread(source: np.ndarray, inside: np.ndarray, steps: int) -> np.ndarray:
    """For each pixel the flat index of the nearest pixel of `source` [H,W], walking at most `steps` pixels `inside`.

    -1 where none is in reach. Steps go to 4 and to 8 neighbors in turn (an octagon for a circle); only the front is
    looked at, so the cost is that of the pixels reached.
    """
    height, width = source.shape
    stride = width + 2  # a rim of one pixel that is not inside spares every test for the border
    reachable = inside & ~source
    free = np.pad(reachable, 1).ravel()
    front = np.flatnonzero(np.pad(source & _beside(reachable), 1).ravel())
    own = np.arange(source.size, dtype=np.int32).reshape(source.shape)
    nearest = np.pad(np.where(source, own, -1), 1, constant_values=-1).ravel()
    straight, oblique = (1, -1, stride, -stride), (stride + 1, stride - 1, -stride + 1, -stride - 1)
    for step in range(steps):
        reached = []
        for offset in straight if step % 2 == 0 else straight + oblique:
            to = front + offset
            is_free = free[to]
            to = to[is_free]
            nearest[to] = nearest[front[is_free]]
            free[to] = False
            reached.append(to)
        front = np.concatenate(reached)
        if not front.size:
            break
    return nearest.reshape(height + 2, stride)[1:-1, 1:-1]


def _beside(there: np.ndarray) -> np.ndarray:
    """Where [H,W] a pixel or one of its 8 neighbors is `there`."""
    padded = np.pad(there, 1)
    rows = padded[:-2] | padded[1:-1] | padded[2:]
    return rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:]


def _cleaned(soft: np.ndarray, paper: np.ndarray, solid: np.ndarray, depth: np.ndarray, blur: float) -> np.ndarray:
    """`soft` [h,w,3] with the color of paper near ink taken from deeper paper; under lines it is that beside."""
    color = soft.copy()
    missing = paper.copy()
    for share in DEPTHS:
        trusted = missing & (depth >= max(share * blur, 1))
        if not trusted.any():
            continue
        nearest = spread(trusted, missing, max(2, int(REACH * max(share * blur, 1))))
        found = nearest >= 0
        smooth = _smoothed(soft, trusted, max(1, STREAK * share)).reshape(-1, 3)
        changed = found & ~trusted if share == DEPTHS[0] else found
        color[changed] = smooth[nearest[changed]]
        missing &= ~found
    under = spread(paper, ~paper & ~solid, paper.size)
    changed = (under >= 0) & ~paper
    color[changed] = color.reshape(-1, 3)[under[changed]]
    return color


def _smoothed(color: np.ndarray, there: np.ndarray, sigma: float) -> np.ndarray:
    """`color` [h,w,3] as the Gaussian mean of the pixels `there`."""
    weight = ndimage.gaussian_filter(there.astype(np.float32), sigma) + 1e-6
    parts = [ndimage.gaussian_filter(color[..., i] * there, sigma) / weight for i in range(3)]
    return np.stack(parts, axis=-1)


def to_pixels(cells: np.ndarray, cell: int, height: int, width: int) -> np.ndarray:
    """`cells` [h,w,...] at the drawing's size [height,width,...]: each pixel that of its cell."""
    if cell == 1:
        return cells[:height, :width]
    return cells.repeat(cell, axis=0)[:height].repeat(cell, axis=1)[:, :width]


def sure_cells(page: Page, labels: np.ndarray) -> np.ndarray:
    """Cells [h,w] whose label [h,w] holds for all their pixels: they and their neighbors are of it, without ink."""
    size = 1 if page.cell == 1 else 3
    same = ndimage.minimum_filter(labels, size) == ndimage.maximum_filter(labels, size)
    return same & (page.depth >= 2 if page.cell > 1 else page.paper)

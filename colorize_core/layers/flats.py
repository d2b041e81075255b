"""Flat colors: areas of one color each, at the drawing's size, from its lines and a soft colored picture."""

import numpy as np
import torch
from scipy import ndimage

from .areas import borders, merged, pieces
from .lines import line_opacity, under_lines
from .page import Page, open_page, pairs_of, spread, sure_cells, to_pixels
from .palette import Palette, in_255ths, lab

GAP_WIDTHS = 3.0  # line widths: a gap of a drawing is at most so wide, where nothing else is said
CONTRAST = 4.5  # CIE Lab: what differs less across its border is one area
LEAST_CORE = 800.0  # cells of sure color that an area needs for its contrast to count in full
DETAIL_RANGE = 16.0  # times more, or fewer, cells at detail 0 and 1
SAME_AREA_COLOR = 8.0  # CIE Lab: areas whose colors differ less get one color
SMALL_AREA_DOUBT = 12.0  # and so much more for an area without any sure cell
DOUBTED_CORE = 300.0  # cells of sure color at which that has shrunk to 0.7 of it
EXTREMES = 0.05  # of an area, on either side: tones that do not count for its color
SPECK = 24  # cells: smaller areas go to their neighbors


def flat_layers(
    image: torch.Tensor, sketch: torch.Tensor, gap: int = -1, detail: float = 0.5, palette: Palette | None = None
) -> tuple[torch.Tensor, torch.Tensor, Palette]:
    """Flat colors, and those under the drawing's own lines, [N,H,W,3], and the palette that they are of.

    `image` [B,h,w,C] are the colored pictures, `sketch` [b,H,W,C] the drawings (dark on light), both in 0..1; N is the
    larger of B and b. With a `palette` its colors stay as they are, in their order; only the shares are new.
    """
    flats, drawings, used = [], [], {}
    for picture, drawing in pairs_of(image, sketch):
        numbers, colors = flat_colors(picture, line_opacity(drawing), gap, detail, palette and palette.colors)
        flats.append(colors[numbers.long()])
        drawings.append(drawing)
        counts = torch.bincount(numbers.flatten(), minlength=len(colors)).tolist()
        for color, count in zip(map(tuple, colors.tolist()), counts, strict=True):
            used[color] = used.get(color, 0) + count
    flat, drawing = torch.stack(flats), torch.stack(drawings)
    if palette is None:
        order = sorted((color for color in used if used[color]), key=lambda color: -used[color])
    else:
        order = list(map(tuple, palette.colors.tolist()))
    shares = torch.tensor([used[color] for color in order]) / sum(used.values())
    return flat, under_lines(flat, drawing), Palette(torch.tensor(order), shares)


def flat_colors(
    picture: torch.Tensor, ink: torch.Tensor, gap: int = -1, detail: float = 0.5, palette: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The flat areas of a drawing: the number of its color for each pixel, int32 [H,W], and the colors [K,3].

    `picture` [3,h,w] in 0..1 has the aspect ratio of the drawing's `ink` [H,W] in 0..1. `gap` is in pixels of the
    drawing: -1 finds it from the width of the lines, 0 closes none. `detail` 0..1 is how small a patch of color
    survives. With a `palette` [K,3] the colors are those; else they are the areas' own, the most common first.
    """
    page = open_page(picture, ink.numpy())
    gap = GAP_WIDTHS * page.line_width if gap < 0 else gap / page.cell
    labels = _areas(page, gap, LEAST_CORE * DETAIL_RANGE ** (1 - 2 * detail))
    if palette is None:
        labels, chosen = _own_colors(page, labels)
    else:
        chosen = palette.numpy()
        labels = np.where(labels > 0, _nearest_colors(page, labels, chosen)[labels] + 1, 0)
    labels = _without_specks(labels)
    numbers = _at_the_lines(page, labels, *ink.shape) - 1
    return torch.from_numpy(numbers), torch.from_numpy(chosen)


def _sureness(page: Page) -> np.ndarray:
    """How surely the color of each cell [h,w] is its area's own, 0..1: deep in paper it is."""
    return np.clip((page.depth - 2) / page.blur, 0, 1) ** 2 + 1e-3


def _areas(page: Page, gap: float, least: float) -> np.ndarray:
    """Areas [h,w] numbered from 1 (0 under lines): of paper by color, and each area filled with ink."""
    seen = lab(page.color)
    labels = pieces(page, seen, gap)
    core = np.bincount(labels.ravel(), _sureness(page).ravel(), labels.max() + 1)
    labels = merged(core, *borders(page, labels, seen, gap), CONTRAST, least)[labels]
    solid, _ = ndimage.label(page.solid)
    labels = np.where(page.solid, solid + labels.max(), labels)
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape) + int(labels.min() > 0)


def _area_colors(labels: np.ndarray, colors: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The color [n,3] of each label of `labels` [h,w] in `colors` [h,w,3]: the weighted mean without the extremes.

    A median follows single blotches, a plain mean what leaks in where lines are open.
    """
    count = int(labels.max()) + 1
    means = np.zeros((count, 3), np.float32)
    for channel in range(3):
        tone = np.round(colors[..., channel].ravel() * 255).astype(np.int64)
        counts = np.bincount(labels.ravel() * 256 + tone, weight.ravel(), count * 256).reshape(count, 256).cumsum(1)
        below = counts / np.maximum(counts[:, -1:], np.finfo(float).tiny)
        share = np.diff(np.clip((below - EXTREMES) / (1 - 2 * EXTREMES), 0, 1), axis=1, prepend=0)
        means[:, channel] = share @ np.arange(256) / 255
    return means


def _nearest_colors(page: Page, labels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """For each label of `labels` [h,w] the number [n] of the color of `palette` [K,3] that its cells look nearest to.

    Distances are summed, not those of an area's mean: blotches that pull it to another color weigh less so.
    """
    seen, sureness = lab(page.color).reshape(-1, 3), _sureness(page).ravel()
    distances = (sureness * np.linalg.norm(seen - color, axis=1) for color in lab(palette))
    return np.stack([np.bincount(labels.ravel(), distance) for distance in distances], axis=1).argmin(axis=1)


def _own_colors(page: Page, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colors numbered from 1 instead of areas [h,w], and the colors [K,3]: areas that look alike share one.

    The largest areas give the colors; a smaller one takes the nearest, if it is near for how little is known of it.
    """
    sureness = _sureness(page)
    means, core = _area_colors(labels, page.color, sureness), np.bincount(labels.ravel(), sureness.ravel())
    seen = lab(means)
    leaders, centers, sizes = [], np.zeros_like(seen), np.zeros(len(seen))
    leader_of = np.zeros(len(seen), np.int64)
    for area in 1 + np.argsort(-core[1:], kind="stable"):
        number = len(leaders)
        if leaders:
            distance = np.linalg.norm(centers[:number] - seen[area], axis=-1)
            doubt = SMALL_AREA_DOUBT * np.sqrt(DOUBTED_CORE / (DOUBTED_CORE + core[area]))
            if distance.min() < SAME_AREA_COLOR + doubt:
                number = int(distance.argmin())
        if number == len(leaders):
            leaders.append(area)
        total = sizes[number] + core[area]
        centers[number] += (seen[area] - centers[number]) * core[area] / total
        sizes[number] = total
        leader_of[area] = number + 1
    labels = leader_of[labels]
    return labels, in_255ths(_area_colors(labels, page.color, sureness)[1:])


def _without_specks(labels: np.ndarray) -> np.ndarray:
    """`labels` [h,w] in which areas of fewer than SPECK cells, and what is 0, are the nearest other area's."""
    joined = np.zeros_like(labels)
    for label in np.unique(labels[labels > 0]):
        areas = ndimage.label(labels == label)[0]
        joined = np.where(areas > 0, areas + joined.max() * (areas > 0), joined)
    size = np.bincount(joined.ravel())
    small = (size < SPECK)[joined] | (labels == 0)
    if small.all():
        small = labels == 0
    nearest = spread(~small, small, small.size)
    return np.where(nearest >= 0, labels.ravel()[nearest], 1)


def _at_the_lines(page: Page, labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """`labels` [h,w] at the drawing's size, int32 [height,width]: areas meet in the middle of lines, or of a cell."""
    full = to_pixels(labels.astype(np.int32), page.cell, height, width)
    if page.cell == 1:
        return full
    sure = to_pixels(sure_cells(page, labels), page.cell, height, width)
    nearest = spread(sure, ~sure, full.size)
    return np.where(nearest >= 0, full.ravel()[nearest], full)

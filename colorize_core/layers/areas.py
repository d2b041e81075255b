"""Areas of one color: small pieces of paper that end at ink and at the picture's edges, merged while they look alike.

The pieces are a watershed's (Meyer, "Topographic distance and watershed lines", 1994) and are merged lowest contrast
first (Brice and Fennema, "Scene analysis using regions", 1970). Contrast is that across the border itself, a few cells
to either side: blotches and shading change slowly and do not part an area, however far they go.
"""

import heapq

import numpy as np
from scipy import ndimage

from .page import Page, spread

PIECE = 12  # cells: one piece starts in each square of this side
LEVELS = 24  # of the watershed's flood
STEEPEST = 4.0  # CIE Lab per cell: a steeper edge is no better a border
NECK = 0.1  # height of the border that a gap in a line makes, where the steepest edge's is 1
SIDE = 8  # cells: contrast is measured this far to either side of a border
DOUBT = 8.0  # cells: a border nearer to ink than this says less
GAP_CARE = 1.5  # times the contrast counts at a gap


def pieces(page: Page, lab: np.ndarray, gap: float) -> np.ndarray:
    """The paper of `page` in small pieces [h,w], numbered from 1, 0 on ink; `lab` [h,w,3] are its colors.

    `gap` in cells: borders are drawn where paper is as narrow as that.
    """
    smooth = np.stack([ndimage.gaussian_filter(lab[..., i], 2) for i in range(3)], axis=-1)
    edge = np.sqrt(sum((np.gradient(smooth, axis=axis) ** 2).sum(axis=-1) for axis in (0, 1) if lab.shape[axis] > 1))
    height = np.clip(np.broadcast_to(edge, page.paper.shape) / STEEPEST, 0, 1)
    if gap:
        height = height + NECK * np.clip(1 - page.depth / gap, 0, 1)
    labels = _starts(page, height)
    level = np.minimum((height / (1 + NECK) * LEVELS).astype(np.int32), LEVELS - 1)
    for highest in range(LEVELS):
        reached = page.paper & (level <= highest) & (labels == 0)
        nearest = spread(labels > 0, reached, reached.size)
        labels[reached] = np.where(nearest < 0, 0, labels.ravel()[nearest])[reached]
    left, _ = ndimage.label(page.paper & (labels == 0))  # too small to have had a start of its own
    labels[left > 0] = left[left > 0] + labels.max()
    return labels


def _starts(page: Page, height: np.ndarray) -> np.ndarray:
    """The lowest and deepest pixel of paper in each square of PIECE cells, numbered from 1 in [h,w]."""
    low = np.where(page.paper, height - 0.0002 * page.depth, np.inf)
    rows, columns = (-(-side // PIECE) for side in low.shape)
    low = np.pad(low, [(0, -side % PIECE) for side in low.shape], constant_values=np.inf)
    squares = low.reshape(rows, PIECE, columns, PIECE).transpose(0, 2, 1, 3).reshape(rows * columns, -1)
    lowest = squares.argmin(axis=1)
    square = np.flatnonzero(np.isfinite(squares.min(axis=1)))
    y = square // columns * PIECE + lowest[square] // PIECE
    x = square % columns * PIECE + lowest[square] % PIECE
    labels = np.zeros(page.paper.shape, np.int32)
    labels[y, x] = np.arange(1, len(y) + 1)
    return labels


def borders(page: Page, labels: np.ndarray, lab: np.ndarray, gap: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What parts the pieces: pairs [N,2] of labels, the sums [N,3] of color differences, and their weights [N]."""
    smooth = np.stack([ndimage.gaussian_filter(lab[..., i], 1.5) for i in range(3)], axis=-1)
    found = [_borders_along(axis, page, labels, smooth, gap) for axis in (0, 1)]
    pair, difference, weight = (np.concatenate(parts) for parts in zip(*found, strict=True))
    swap = pair[:, 0] > pair[:, 1]
    pair[swap], difference[swap] = pair[swap, ::-1], -difference[swap]
    key, inverse = np.unique(pair[:, 0] * (labels.max() + 1) + pair[:, 1], return_inverse=True)
    sums = np.stack([np.bincount(inverse, difference[:, i], len(key)) for i in range(3)], axis=-1)
    pairs = np.stack(np.divmod(key, labels.max() + 1), axis=-1)
    return pairs, sums, np.bincount(inverse, weight, len(key))


def _borders_along(axis, page, labels, smooth, gap):
    """`borders` of neighbors along one axis, pixel by pixel: pairs [M,2], weighted differences [M,3], weights [M]."""
    before, after = [slice(None)] * 2, [slice(None)] * 2
    before[axis], after[axis] = slice(None, -1), slice(1, None)
    one, other = labels[tuple(before)], labels[tuple(after)]
    here = np.argwhere((one != other) & (one > 0) & (other > 0))
    step = np.eye(2, dtype=here.dtype)[axis]
    near = page.depth[tuple(here.T)]
    sides = [_color_beside(page, smooth, start, way) for start, way in ((here, -step), (here + step, step))]
    weight = np.clip(near / DOUBT, 0.05, 1)
    care = np.where(2 * near <= gap, GAP_CARE, 1) if gap else np.ones_like(near)
    pair = np.stack([one[tuple(here.T)], other[tuple(here.T)]], axis=-1).astype(np.int64)
    return pair, (sides[0] - sides[1]) * (weight * care)[:, None], weight


def _color_beside(page: Page, smooth: np.ndarray, start: np.ndarray, way: np.ndarray) -> np.ndarray:
    """The color [M,3] up to SIDE cells from `start` [M,2] in direction `way` [2], as far as there is paper."""
    color = smooth[tuple(start.T)]
    on_paper = np.ones(len(start), bool)
    for distance in range(2, SIDE + 1, 2):
        at = tuple(np.clip(start + distance * way, 0, np.array(page.paper.shape) - 1).T)
        on_paper &= page.paper[at]
        color[on_paper] = smooth[at][on_paper]
    return color


def merged(
    core: np.ndarray, pairs: np.ndarray, sums: np.ndarray, weights: np.ndarray, contrast: float, least: float
) -> np.ndarray:
    """For each piece [n] the piece that stands for its area, after merging neighbors that look alike.

    `core` [n] is how much of each is surely its own color. Neighbors merge, the most alike first, until all differ by
    `contrast` (CIE Lab); a piece with less core than `least` must differ more, by the root of what it lacks.
    """
    neighbors = [{} for _ in core]
    for (a, b), (x, y, z), weight in zip(pairs.tolist(), sums.tolist(), weights.tolist(), strict=True):
        neighbors[a][b], neighbors[b][a] = (x, y, z, weight), (-x, -y, -z, weight)
    core, parent = core.tolist(), list(range(len(core)))

    def difference(a, b):
        x, y, z, weight = neighbors[a][b]
        return (x * x + y * y + z * z) ** 0.5 / weight * min(1.0, min(core[a], core[b]) / least) ** 0.5

    queue = [(difference(a, b), a, b) for a, b in pairs.tolist()]
    heapq.heapify(queue)
    while queue and queue[0][0] < contrast:
        queued, a, b = heapq.heappop(queue)
        if b not in neighbors[a]:
            continue
        now = difference(a, b)
        if now > queued + 1e-9:  # one of them has grown since
            heapq.heappush(queue, (now, a, b))
            continue
        if len(neighbors[a]) < len(neighbors[b]):
            a, b = b, a
        parent[b] = a
        core[a] += core[b]
        del neighbors[a][b], neighbors[b][a]
        for other, border in neighbors[b].items():
            del neighbors[other][b]
            if other in neighbors[a]:
                border = tuple(map(sum, zip(border, neighbors[a][other], strict=True)))
            x, y, z, weight = neighbors[a][other] = border
            neighbors[other][a] = (-x, -y, -z, weight)
            heapq.heappush(queue, (difference(a, other), a, other))
        neighbors[b] = {}
    parent = np.array(parent)
    while (parent[parent] != parent).any():
        parent = parent[parent]
    return parent

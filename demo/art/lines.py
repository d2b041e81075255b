"""Line art of a drawing that is given as paints: the artist's own lines, and new ones where two colors meet."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

INK_BRIGHTNESS, STROKE_BRIGHTNESS = 0.25, 0.5  # of full: a fill, a stroke that is darker is ink where it is thin
THICKEST = 0.035  # of the picture's side: here thin ends and spots of black begin
LEAST_SPOT = 0.002  # of the picture's area: a smaller spot is a thick place of a line
LEAST_CONTRAST = 0.035  # how far two colors, 0..1, must differ for a line between them
SHADE_CONTRAST = 0.22  # how little light and shade of one thing differ in brightness
SHADE_HUE, SHADE_CHROMA = 0.93, 0.06  # cosine of the angle between two hues; what is less colorful has none
LUMA = (0.3, 0.59, 0.11)
COARSE = 12  # a side of the grid on which loose lines stray


@dataclass(frozen=True)
class LineStyle:
    """How line art is drawn: `width` in 1/256 of the side, `pencil` 0 (black) to 1 (white), `looseness` in widths.

    `shades`: whether a line runs where light meets shade; `spots`: whether areas of solid black stay black.
    """

    width: float
    pencil: float
    looseness: float
    shades: bool
    spots: bool
    looseness_seed: int


def random_line_style(rng: np.random.Generator) -> LineStyle:
    return LineStyle(
        width=float(rng.uniform(0.8, 2.6)),
        pencil=float(rng.choice([0.0, rng.uniform(0.0, 0.45)])),
        looseness=float(rng.choice([0.0, rng.uniform(0.2, 1.0)])),
        shades=bool(rng.random() < 0.3),
        spots=bool(rng.random() < 0.3),
        looseness_seed=int(rng.integers(1 << 30)),
    )


def inky(colors: np.ndarray, stroke: np.ndarray) -> np.ndarray:
    """Which paints [P] are dark enough for ink; `colors` [P,3] in 0..1, `stroke` [P] whether each is one."""
    return colors @ LUMA < np.where(stroke, STROKE_BRIGHTNESS, INK_BRIGHTNESS)


def thin_parts(mask: np.ndarray) -> np.ndarray:
    """What of a mask [S,S] is nowhere thicker than THICKEST: the lines of an area of ink without its spots."""
    from scipy import ndimage

    radius = max(1, round(THICKEST * len(mask) / 2))
    cross = ndimage.generate_binary_structure(2, 1)
    core = ndimage.binary_erosion(mask, cross, radius, border_value=1)
    labels, count = ndimage.label(core)
    if not count:
        return mask.copy()
    core &= (np.bincount(labels.ravel()) >= LEAST_SPOT * core.size)[labels]
    return mask & ~ndimage.binary_dilation(core, cross, radius + 1, mask=mask)


def without_slivers(number: np.ndarray) -> np.ndarray:
    """Paints [S,S] without what is one pixel wide: seams through which a lower paint looks make dashed lines."""
    number = number.copy()
    for map_ in (number, number.T):
        before, here, after = map_[:-2], map_[1:-1], map_[2:]
        sliver = (here != before) & (here != after)
        here[sliver] = before[sliver]
    return number


def line_art(
    number: np.ndarray, colors: np.ndarray, stroke: np.ndarray, drawn: np.ndarray, style: LineStyle
) -> tuple[np.ndarray, np.ndarray]:
    """Ink 0..1 [S,S] and which pixels [S,S] are ink in the picture itself.

    `number` [S,S] counts paints from 0 without gaps; `colors` [P,3] in 0..1, `stroke` [P] and `drawn` [P] (it is no
    background) are theirs. Thin dark paint and thin strokes of any color are the artist's lines; elsewhere a line is
    drawn where two colors meet.
    """
    from scipy import ndimage

    dark = (inky(colors, stroke) & drawn)[number]
    thin_dark = thin_parts(dark)
    own = thin_dark | thin_parts(stroke[number] & ~dark)
    edge = color_edges(without_slivers(number), colors, style.shades)
    reach = max(2, round(2 * style.width * len(number) / 512))
    edge &= ~ndimage.binary_dilation(own, ndimage.generate_binary_structure(2, 1), reach)
    distance = ndimage.distance_transform_edt(~edge) if edge.any() else np.full(edge.shape, np.inf)
    added = np.clip(style.width / 512 * len(number) + 0.5 - distance, 0, 1)
    return np.maximum(added, own | (dark & style.spots)), thin_dark


def color_edges(number: np.ndarray, colors: np.ndarray, with_shades: bool) -> np.ndarray:
    """Where [S,S] a pixel's paint and the next one's, right or below, are of different colors."""
    edge = np.zeros(number.shape, bool)
    for here, after, out in (
        (number[:-1], number[1:], edge[:-1]),
        (number[:, :-1], number[:, 1:], edge[:, :-1]),
    ):
        differ = here != after
        a, b = colors[here[differ]], colors[after[differ]]
        line = np.abs(a - b).mean(-1) > LEAST_CONTRAST
        out[differ] |= line if with_shades else line & ~shade_of_another(a, b)
    return edge


def shade_of_another(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Whether colors [N,3] and [N,3] in 0..1 are light and shade of one thing: of one hue, and not far apart."""
    light_a, light_b = a.mean(-1, keepdims=True), b.mean(-1, keepdims=True)
    chroma_a, chroma_b = a - light_a, b - light_b
    size_a, size_b = np.linalg.norm(chroma_a, axis=-1), np.linalg.norm(chroma_b, axis=-1)
    same_hue = (chroma_a * chroma_b).sum(-1) > SHADE_HUE * size_a * size_b
    return same_hue & (np.minimum(size_a, size_b) > SHADE_CHROMA) & (np.abs(light_a - light_b)[:, 0] < SHADE_CONTRAST)


def strayed(ink: np.ndarray, style: LineStyle) -> np.ndarray:
    """The lines [S,S] as a loose hand draws them."""
    from scipy import ndimage

    if not style.looseness:
        return ink
    side = len(ink)
    rng = np.random.default_rng(style.looseness_seed)
    coarse = rng.normal(0, style.looseness * style.width / 256 * side, (2, COARSE, COARSE)).astype(np.float32)
    fields = [np.asarray(Image.fromarray(field).resize((side, side), Image.Resampling.BICUBIC)) for field in coarse]
    at = np.mgrid[:side, :side].astype(np.float32) + np.stack(fields)
    return np.clip(ndimage.map_coordinates(ink.astype(np.float32), at, order=1, mode="nearest"), 0, 1)

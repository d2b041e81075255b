"""From a vector drawing to a training picture: its colors, its line art, its regions."""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from PIL import Image

from . import svg
from .lines import LineStyle, line_art, strayed

SUPERSAMPLING = 2
MOST_PAINTS = 2000  # in sight: more is a traced photograph
MOST_REGIONS = 200
TRUE_LINE = 0.3  # of full ink: what is darker in an artist's line art is a line of the picture as well


@dataclass(frozen=True)
class ArtPicture:
    """`color` [S,S,3] and `sketch` [S,S] (black on white), `regions` [S,S]: uint8, 0 is the background.

    `sources[n - 1]` is the color in the file of region n.
    """

    color: np.ndarray
    sketch: np.ndarray
    regions: np.ndarray
    sources: list[str]


def picture_of(
    root, box: svg.Box, background: np.ndarray, style: LineStyle, side: int, lines: str | None = None
) -> ArtPicture:
    """What the drawing shows in `box` before a `background` [3] in 0..255; `lines` is the artist's own line art (SVG).

    Raises Unusable for a drawing of too many paints.
    """
    from scipy import ndimage

    framed = svg.framed(root, box)
    large = side * SUPERSAMPLING
    color = svg.rendered(framed, large, background=tuple(background))[..., :3]
    found = svg.paints(framed, large)
    used = np.flatnonzero(np.bincount(found.number.ravel()))
    if len(used) > MOST_PAINTS:
        raise svg.Unusable(f"{len(used)} paints")
    number = np.searchsorted(used, np.arange(used[-1] + 1)).astype(np.uint16)[found.number]
    colors = median_colors(color, number, len(used)) / 255
    stroke = np.array([paint > 0 and found.stroke[paint - 1] for paint in used])
    if lines is None:
        ink, own = line_art(number, colors, stroke, used > 0, style)
    else:
        drawn = svg.rendered(svg.framed(svg.parse(lines), box), large).astype(np.float32) / 255
        ink = drawn[..., 3] * (1 - drawn[..., :3].mean(-1))
        own = ndimage.binary_dilation(ink > TRUE_LINE, iterations=3)
    sources = ["" if paint == 0 else found.source[paint - 1].lower() for paint in used]
    regions, names = color_regions(number, sources, own)
    return ArtPicture(
        color=reduced(color),
        sketch=reduced(paper_and_ink(strayed(ink, style) * (1 - style.pencil))),
        regions=regions[::SUPERSAMPLING, ::SUPERSAMPLING].astype(np.uint8),
        sources=names,
    )


def reduced(image: np.ndarray) -> np.ndarray:
    """Means over SUPERSAMPLING x SUPERSAMPLING pixels of a uint8 image."""
    return np.asarray(Image.fromarray(image).reduce(SUPERSAMPLING))


def paper_and_ink(ink: np.ndarray) -> np.ndarray:
    """Ink 0..1, black on white in uint8."""
    return (255.5 - 255 * ink).astype(np.uint8)


def median_colors(color: np.ndarray, number: np.ndarray, count: int) -> np.ndarray:
    """The median color of each paint [count,3], taken where every paint is seen."""
    flat = number.ravel()
    order = np.argsort(flat, kind="stable")  # of 16 bits: a radix sort
    by_paint = color.reshape(-1, 3)[order]
    ends = np.searchsorted(flat[order], np.arange(count + 1))
    return np.stack([np.median(by_paint[start:end:4], axis=0) for start, end in pairwise(ends)])  # a quarter tells it


def color_regions(number: np.ndarray, sources: list[str], own: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Regions [S,S]: paints of one color in the file; `own` ink belongs to what is nearest. And the regions' colors."""
    from scipy import ndimage

    names = list(dict.fromkeys(source for source in sources if source))
    if len(names) > MOST_REGIONS:
        raise svg.Unusable(f"{len(names)} colors")
    regions = np.array([names.index(source) + 1 if source else 0 for source in sources])[number]
    if own.any() and not own.all():
        nearest = ndimage.distance_transform_edt(own, return_distances=False, return_indices=True)
        regions = regions[tuple(nearest)]
    return regions, names


def mirrored(picture: ArtPicture) -> ArtPicture:
    flipped = {name: np.ascontiguousarray(getattr(picture, name)[:, ::-1]) for name in ("color", "sketch", "regions")}
    return replace(picture, **flipped)

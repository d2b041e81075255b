"""Pairs of pictures that share colors and differ in shape, drawn from artists' packages."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from ..words import BOTTOM_NOUNS, FIRST_OF_DRAWING, MORE_REGIONS, NOUN_COLORS, UNNAMED
from . import svg
from .avatars import ARTISTS, Artist, AvatarPalette, draw_avatar, random_avatar_palette, recolored_palette
from .clipart import COLLECTIONS, Drawing, families, svg_text
from .drawing import mirrored, picture_of
from .lines import random_line_style
from .recoloring import random_recoloring, recolored
from .sources import Sources
from .sprites import sprite_pair

ACROSS_STYLES = 0.35  # how often the two figures of a pair are by different artists
SIBLINGS = 0.6  # how often a drawing's reference is one of its family, and not itself seen otherwise
ARTISTS_COLORS = 0.25  # how often a drawing keeps its own colors: else they must be read from the reference
BACKGROUND_JITTER = 10
LEAST_SHARE = 0.002  # of a picture: a smaller region is not spoken of
LEAST_INK = 0.006  # of a sketch that were all black
TRIES = 12


@dataclass(frozen=True)
class Side:
    """One picture of a pair. `color` and `recolored` [S,S,3], `sketch` and `regions` [S,S]: uint8.

    `words`: noun -> color name of what can be seen; `recolored` and `recolored_words` are the same with one noun in
    another color. `known`: the nouns that would be in `words` if they were seen. `name`: what drawing it is.
    """

    color: np.ndarray
    sketch: np.ndarray
    regions: np.ndarray
    recolored: np.ndarray
    words: dict[str, str]
    recolored_words: dict[str, str]
    known: tuple[str, ...]
    name: str


def avatar_pair(rng: np.random.Generator, side: int, sources: Sources, trained: bool) -> tuple[Side, Side]:
    """Figures of one palette, of styles that are trained on or kept for the test."""
    artists = [artist for artist in ARTISTS if artist.trained == trained]
    first = artists[rng.integers(len(artists))]
    second = artists[rng.integers(len(artists))] if rng.random() < ACROSS_STYLES else first
    palette = random_avatar_palette(rng)
    shared = {"background"} | (set(first.nouns.values()) & set(second.nouns.values()))
    palettes = palette, recolored_palette(palette, sorted(shared), rng)
    return tuple(avatar_side(artist, palettes, int(rng.integers(1 << 60)), side, sources) for artist in (first, second))


def avatar_side(
    artist: Artist, palettes: tuple[AvatarPalette, AvatarPalette], seed: int, side: int, sources: Sources
) -> Side:
    avatar, other = (
        draw_avatar(artist, palette, sources.exported, np.random.default_rng(seed)) for palette in palettes
    )
    rng = np.random.default_rng((seed, 1))
    root = svg.parse(avatar.source)
    box = avatar_box(root, artist, rng)
    picture = picture_of(root, box, palettes[0].rgb["background"], random_line_style(rng), side)
    recolored = svg.rendered(svg.framed(svg.parse(other.source), box), side, background=palettes[1].rgb["background"])
    numbers = [0, *(MORE_REGIONS.get(avatar.noun_of.get(source), UNNAMED) for source in picture.sources)]
    regions = np.array(numbers, np.uint8)[picture.regions]
    share = np.bincount(regions.ravel(), minlength=256) / regions.size
    seen = [noun for noun in avatar.words if share[MORE_REGIONS[noun]] >= LEAST_SHARE]
    return Side(
        picture.color, picture.sketch, regions, recolored[..., :3],
        words={noun: avatar.words[noun] for noun in seen},
        recolored_words={noun: other.words[noun] for noun in seen},
        known=(*avatar.words, *BOTTOM_NOUNS),
        name=artist.style,
    )  # fmt: skip


def avatar_box(root, artist: Artist, rng: np.random.Generator) -> svg.Box:
    """A square within the artist's frame, its lower edge near the frame's: busts must not float."""
    left, top, width, height = svg.view_box(root)
    if "background" in artist.nouns.values():  # the style paints it, up to its frame
        return left, top, max(width, height), 0.0
    side = max(width, height) * rng.uniform(0.78, 1.0)
    shift = rng.uniform(-0.06, 0.06) * width
    return left + (width - side) / 2 + shift, top + (height - side) * rng.uniform(0.4, 1.0), side, 0.0


@cache
def collections(sources: Sources, trained: bool) -> list[tuple[str, list[list[Drawing]]]]:
    """By name the families of each collection that is there. Raises ValueError where there is none."""
    found = [(each.name, families(each, sources)) for each in COLLECTIONS if each.trained == trained]
    found = [(name, groups) for name, groups in found if groups]
    if not found:
        raise ValueError(f"{sources.npm} holds no collection of drawings: delete the folder, it is installed anew.")
    return found


def thing_pair(rng: np.random.Generator, side: int, sources: Sources, trained: bool) -> tuple[Side, Side]:
    """A drawing, and one of its family or itself seen otherwise, in the same new colors. Raises Unusable."""
    found = collections(sources, trained)
    name, groups = found[rng.integers(len(found))]
    family = groups[rng.integers(len(groups))]
    first = family[rng.integers(len(family))]
    second = family[rng.integers(len(family))] if rng.random() < SIBLINGS else first
    recoloring = None if rng.random() < ARTISTS_COLORS else random_recoloring(rng)
    names = rng.choice(list(NOUN_COLORS["background"]), 2, replace=False)
    jitter = rng.integers(-BACKGROUND_JITTER, BACKGROUND_JITTER + 1, 3)
    backgrounds = {str(n): np.clip(np.add(NOUN_COLORS["background"][n], jitter), 0, 255) for n in names}
    numbers: dict[str, int] = {}
    sides = []
    for drawing in (first, second):
        text = svg_text(drawing.source)
        root = svg.parse(recolored(text, recoloring) if recoloring else text)
        sides.append(thing_side(root, drawing, backgrounds, numbers, rng, side))
    return tuple(
        replace(each, name=f"{name}/{drawing.family}") for each, drawing in zip(sides, (first, second), strict=True)
    )


def thing_side(
    root, drawing: Drawing, backgrounds: dict[str, np.ndarray], numbers: dict[str, int], rng: np.random.Generator,
    side: int,
) -> Side:  # fmt: skip
    """`numbers`: of each color in the files the region, which a pair shares; new ones are added to it."""
    box = thing_box(root, rng)
    (before, background), (after, other) = backgrounds.items()
    lines = svg_text(drawing.lines) if drawing.lines else None
    picture = picture_of(root, box, background, random_line_style(rng), side, lines)
    if 1 - picture.sketch.mean() / 255 < LEAST_INK:
        raise svg.Unusable("hardly a line")
    recolored = svg.rendered(svg.framed(root, box), side, background=tuple(other))[..., :3]
    if rng.random() < 0.5:
        picture, recolored = mirrored(picture), np.ascontiguousarray(recolored[:, ::-1])
    table = [0, *(numbers.setdefault(source, FIRST_OF_DRAWING + len(numbers)) for source in picture.sources)]
    if max(table) > 255:
        raise svg.Unusable(f"{len(numbers)} colors in a pair")
    return Side(
        picture.color, picture.sketch, np.array(table, np.uint8)[picture.regions], recolored,
        words={"background": before}, recolored_words={"background": after}, known=("background",), name="",
    )  # fmt: skip


def thing_box(root, rng: np.random.Generator) -> svg.Box:
    """A square around what is drawn, or closer, somewhat turned half of the time."""
    left, top, width, height = svg.extent(root)
    side = max(width, height) * rng.uniform(0.8, 1.25)
    shift = rng.uniform(-0.06, 0.06, 2) * side
    turn = float(rng.normal(0, 6)) if rng.random() < 0.5 else 0.0
    return left + (width - side) / 2 + shift[0], top + (height - side) / 2 + shift[1], side, turn


def anime_pair(rng: np.random.Generator, side: int, sources: Sources, trained: bool) -> tuple[Side, Side]:
    """Sprites, without regions and words; they are for the test alone."""
    if trained:
        raise ValueError("anime: its pictures are for the test.")
    return tuple(
        Side(color, sketch, np.zeros_like(sketch), color, {}, {}, (), name)
        for color, sketch, name in sprite_pair(sources, rng, side)
    )


MAKERS = {"avatars": avatar_pair, "things": thing_pair, "anime": anime_pair}


def art_pair(kind: str, seed: tuple[int, ...], side: int, sources: Sources, trained: bool) -> tuple[Side, Side]:
    """The pair of a seed, of one of MAKERS; a drawing that cannot be used gives way to another."""
    for attempt in range(TRIES):
        try:
            return MAKERS[kind](np.random.default_rng((*seed, attempt)), side, sources, trained)
        except svg.Unusable:
            continue
    raise ValueError(f"{kind}: {TRIES} drawings in a row make no picture; are the packages in {sources.npm} whole?")

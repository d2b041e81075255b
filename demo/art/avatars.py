"""Parametric figures by artists, in colors that have names: DiceBear's styles and two npm packages.

Figures of one palette, in one style or in two, are a pair: the reference tells the colors, the line art the shapes.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np

from ..words import NOUN_COLORS

PALETTE_NOUNS = ("background", "hair", "skin", "shirt", "beard", "hat", "glasses", "earrings", "lips")
JITTER = 12  # how far a picture's color may lie from the named one, per channel of 255
RARE_PARTS = 0.5  # how often what a style seldom shows is drawn: its color has a word to learn
BEARD_AS_HAIR = 0.7
PLACEHOLDER_SHADES = (0.8, 0.93)  # how light the shade of an exported figure's color is


@dataclass(frozen=True)
class Artist:
    """A style. `nouns`: whose color each of its color slots is; `rare`: parts that it shows seldom by itself.

    `trained`: False keeps it for the test. `exported`: whether figures.mjs writes its figures.
    """

    style: str
    by: str
    license: str
    nouns: dict[str, str]
    rare: tuple[str, ...] = ()
    trained: bool = True
    exported: bool = False


ARTISTS = (
    Artist("adventurer", "Lisa Wischofsky", "CC BY 4.0",
           {"hair": "hair", "skin": "skin", "lips": "lips", "glasses": "glasses", "earrings": "earrings"},
           ("glasses", "earrings")),
    Artist("lorelei", "Lisa Wischofsky", "CC0 1.0",
           {"hair": "hair", "skin": "skin", "earrings": "earrings", "glasses": "glasses", "mouth": "lips"},
           ("glasses", "earrings")),
    Artist("open-peeps", "Pablo Stanley", "CC0 1.0", {"headContrast": "hair", "skin": "skin", "clothing": "shirt"}),
    Artist("micah", "Micah Lanier", "CC BY 4.0",
           {"base": "skin", "hair": "hair", "shirt": "shirt", "facialHair": "beard", "glasses": "glasses",
            "earring": "earrings"}, ("facialHair", "glasses", "earrings")),
    Artist("big-smile", "Ashley Seo", "CC BY 4.0", {"hair": "hair", "skin": "skin"}),
    Artist("miniavs", "Webpixels", "CC BY 4.0", {"hair": "hair", "skin": "skin", "body": "shirt"}),
    Artist("personas", "Draftbit", "CC BY 4.0",
           {"hair": "hair", "skin": "skin", "clothing": "shirt", "facialHair": "beard"}, ("facialHair",)),
    Artist("big-ears", "The Visual Team", "CC BY 4.0", {"hair": "hair", "skin": "skin"}),
    Artist("dylan", "Natalia Spivak", "CC BY 4.0", {"hair": "hair", "skin": "skin", "background": "background"}),
    Artist("bigheads", "Robert Broersma", "MIT", {"1": "hair", "2": "skin", "3": "shirt", "4": "lips", "5": "hat"},
           exported=True),
    Artist("toon-head", "Johan Melin", "CC BY 4.0", {"hair": "hair", "skin": "skin", "clothes": "shirt"},
           trained=False),
    Artist("facesjs", "the facesjs contributors", "Apache 2.0", {"1": "hair", "2": "skin", "3": "shirt", "5": "hat"},
           trained=False, exported=True),
)  # fmt: skip


@dataclass(frozen=True)
class AvatarPalette:
    """Of each of PALETTE_NOUNS the color's name and its RGB in 0..255; no two are equal, so a color tells its noun."""

    names: dict[str, str]
    rgb: dict[str, tuple[int, int, int]]


@dataclass(frozen=True)
class Avatar:
    """`source`: SVG; `noun_of`: whose color each "#rrggbb" in it is; `words`: noun -> color name of what may show."""

    source: str
    noun_of: dict[str, str]
    words: dict[str, str]


def random_avatar_palette(rng: np.random.Generator) -> AvatarPalette:
    names = {noun: str(rng.choice(list(NOUN_COLORS[noun]))) for noun in PALETTE_NOUNS}
    if rng.random() < BEARD_AS_HAIR:
        names["beard"] = names["hair"]
    rgb: dict[str, tuple[int, int, int]] = {}
    for noun, name in names.items():
        rgb[noun] = unlike(NOUN_COLORS[noun][name], set(rgb.values()), rng)
    return AvatarPalette(names, rgb)


def unlike(color: tuple[int, int, int], taken: set, rng: np.random.Generator) -> tuple[int, int, int]:
    """A color near `color` that is none of the `taken` ones."""
    while True:
        near = tuple(int(v) for v in np.clip(np.add(color, rng.integers(-JITTER, JITTER + 1, 3)), 1, 254))
        if near not in taken:
            return near


def recolored_palette(palette: AvatarPalette, nouns: list[str], rng: np.random.Generator) -> AvatarPalette:
    """`palette` with another color for one of `nouns`."""
    noun = str(rng.choice(nouns))
    name = str(rng.choice([name for name in NOUN_COLORS[noun] if name != palette.names[noun]]))
    color = unlike(NOUN_COLORS[noun][name], set(palette.rgb.values()), rng)
    return AvatarPalette(palette.names | {noun: name}, palette.rgb | {noun: color})


def draw_avatar(artist: Artist, palette: AvatarPalette, exported: Path, rng: np.random.Generator) -> Avatar:
    """A random figure of the style in the palette's colors; `exported` is the file that figures.mjs wrote."""
    make = filled_avatar if artist.exported else dicebear_avatar
    source, noun_of = make(artist, palette, exported, rng)
    nouns = dict.fromkeys(("background", *artist.nouns.values()))
    return Avatar(source, noun_of, {noun: palette.names[noun] for noun in nouns})


def dicebear_avatar(
    artist: Artist, palette: AvatarPalette, exported: Path, rng: np.random.Generator
) -> tuple[str, dict[str, str]]:
    from dicebear import Avatar as DicebearAvatar

    options: dict = {"seed": str(rng.integers(1 << 40)), "flip": str(rng.choice(["none", "horizontal"]))}
    options |= {f"{part}Probability": int(100 * RARE_PARTS) for part in artist.rare}
    options |= {f"{slot}Color": [hexadecimal(palette.rgb[noun])] for slot, noun in artist.nouns.items()}
    source = DicebearAvatar(dicebear_style(artist.style), options).to_string()
    return source, {hexadecimal(palette.rgb[noun]): noun for noun in artist.nouns.values()}


@cache
def dicebear_style(name: str):
    from dicebear import Style

    return Style(json.loads(files("dicebear_styles").joinpath(f"{name}.json").read_text("utf-8")))


def filled_avatar(
    artist: Artist, palette: AvatarPalette, exported: Path, rng: np.random.Generator
) -> tuple[str, dict[str, str]]:
    """An exported figure with colors for its placeholders "#a", slot, "000", 1 for light and 2 for shade."""
    sources = exported_figures(exported)[artist.style]
    source = sources[rng.integers(len(sources))]
    noun_of = {}
    for slot, noun in artist.nouns.items():
        for shade, light in (("1", 1.0), ("2", rng.uniform(*PLACEHOLDER_SHADES))):
            value = hexadecimal(tuple(round(v * light) for v in palette.rgb[noun]))
            source = source.replace(f"#a{slot}000{shade}", value)
            noun_of[value] = noun
    return source, noun_of


@cache
def exported_figures(path: Path) -> dict[str, list[str]]:
    """By style, the figures of a file of JSON lines {"style", "source"}."""
    figures: dict[str, list[str]] = {}
    for line in path.read_text("utf-8").splitlines():
        record = json.loads(line)
        figures.setdefault(record["style"], []).append(record["source"])
    return figures


def hexadecimal(rgb: tuple[int, int, int]) -> str:
    return "#" + "".join(f"{value:02x}" for value in rgb)

"""How well the demo model does on artists' drawings that it has not seen, by the same code that the nodes run."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from colorize_core.training.metrics import LEAST_PIXELS, line_fidelity, region_color_error

from .art.pairs import art_pair
from .art.sources import Sources
from .data import draw_pairs
from .evaluate import Demo, colorize_drawings, demo_tokens, edited_tokens, save_sheet, uint8, unit
from .words import MORE_REGIONS, NOUN_COLORS, UNNAMED

ART_SETS = {"artists' figures": "avatars", "things": "things", "anime": "anime"}
OWN_SET = "own figures"
ART_PAIRS, ART_SEED, ART_SIZE = 64, 3, 256
OWN_SEED = 3  # the pictures with which evaluate.py's tables begin
WHITE = 255  # of a sketch: its paper
EDITED_ART_NOUNS = ("hair", "shirt")
RESAMPLED = 1000  # bootstrap samples


@dataclass(frozen=True)
class UnseenPictures:
    """`color` [N,S,S,3], `sketch` and `regions` [N,S,S] uint8, `words` [N]; 2k and 2k+1 share their colors.

    `judged`: whether regions say which colors belong together.
    """

    color: np.ndarray
    sketch: np.ndarray
    regions: np.ndarray
    words: list[dict[str, str]]
    judged: bool


def unseen_pictures(name: str, sources: Sources, pairs: int = ART_PAIRS, size: int = ART_SIZE) -> UnseenPictures:
    """The first `pairs` pairs of one of ART_SETS or of OWN_SET, the same every time."""
    if name == OWN_SET:
        own = draw_pairs(pairs, OWN_SEED, size)
        regions = np.where(np.isin(own.regions, list(MORE_REGIONS.values())), own.regions, UNNAMED)
        return UnseenPictures(own.color, own.sketch, regions, own.words, True)
    kind = ART_SETS[name]
    sides = [side for i in range(pairs) for side in art_pair(kind, (ART_SEED, i), size, sources, trained=False)]
    color, sketch, regions = (
        np.stack([getattr(side, key) for side in sides]) for key in ("color", "sketch", "regions")
    )
    return UnseenPictures(color, sketch, regions, [side.words for side in sides], kind != "anime")


def paper_error(color: np.ndarray, truth: np.ndarray, sketch: np.ndarray) -> np.ndarray:
    """Mean absolute difference of R, G, B, in 255ths, over the pixels that the sketch leaves white: [N,...] -> [N]."""
    differences = zip(color.astype(np.int16), truth, sketch, strict=True)
    return np.array([np.abs(a - b)[drawn == WHITE].mean() for a, b, drawn in differences])


def bootstrap_error(values: np.ndarray) -> float:
    """The standard error of the mean of `values` [N], pictures 2k and 2k+1 drawn together; NaN is left out."""
    with np.errstate(invalid="ignore"):
        pairs = np.array([row[~np.isnan(row)].mean() for row in values.reshape(-1, 2) if not np.isnan(row).all()])
    picks = np.random.default_rng(0).integers(len(pairs), size=(RESAMPLED, len(pairs)))
    return float(pairs[picks].mean(axis=1).std())


def said(values: np.ndarray, digits: int) -> str:
    return f"{np.nanmean(values):.{digits}f} ± {bootstrap_error(values):.{digits}f}"


def measure_set(demo: Demo, name: str, pictures: UnseenPictures, output: Path) -> str:
    """A row of the table, printed; a sheet of sketch, reference, result and truth is saved."""
    partner = np.arange(len(pictures.color)) ^ 1
    result = colorize_drawings(demo, demo_tokens(demo, pictures.color[partner]), pictures.sketch)
    through_vae = through_autoencoder(demo, pictures.color)
    ink = 1 - torch.from_numpy(pictures.sketch) / 255
    cells = [said(paper_error(result, pictures.color, pictures.sketch), 1)]
    cells += [said(region_errors(result, pictures, partner), 1) if pictures.judged else ""]
    cells += [said(line_fidelity(unit(result), ink).numpy(), 3)]
    cells += [said(paper_error(through_vae, pictures.color, pictures.sketch), 1)]
    cells += [said(line_fidelity(unit(through_vae), ink).numpy(), 3)]
    row = f"| {name} | {' | '.join(cells)} |"
    print(row, flush=True)  # noqa: T201
    sketches = np.repeat(pictures.sketch[..., None], 3, axis=-1)
    columns = sketches, pictures.color[partner], result, pictures.color
    save_sheet(columns, output / f"{name.replace(' ', '-').replace(chr(39), '')}.png")
    return row


def through_autoencoder(demo: Demo, color: np.ndarray) -> np.ndarray:
    chunks = np.array_split(color, max(1, len(color) // 8))
    return np.concatenate([uint8(demo.vae.decode(demo.vae.encode(torch.from_numpy(c) / 255))) for c in chunks])


def region_errors(result: np.ndarray, pictures: UnseenPictures, partner: np.ndarray) -> np.ndarray:
    """How far the colors of the regions that sketch and reference show are from the reference's, in 255ths: [N]."""
    regions = np.where(pictures.regions == UNNAMED, -1, pictures.regions.astype(np.int16))
    regions = torch.from_numpy(regions)
    return region_color_error(unit(result), unit(pictures.color[partner]), regions, regions[partner]).numpy()


def measure_art_edits(demo: Demo, name: str, pictures: UnseenPictures, output: Path) -> None:
    """Prints how often a region that is edited with words comes to have the new color's name.

    Of the pairs that show the noun on both sides; a random other color that the reference does not have.
    """
    for noun in EDITED_ART_NOUNS:
        shown = [i for i in range(0, len(pictures.words), 2)
                 if noun in pictures.words[i] and noun in pictures.words[i + 1]
                 and (pictures.regions[i] == MORE_REGIONS[noun]).sum() >= LEAST_PIXELS]  # fmt: skip
        rng = np.random.default_rng(ART_SEED)
        anchors = [pictures.words[i + 1][noun] for i in shown]
        targets = [str(rng.choice([c for c in NOUN_COLORS[noun] if c != anchor])) for anchor in anchors]
        before = demo_tokens(demo, pictures.color[np.add(shown, 1)])
        after = edited_tokens(demo, before, noun, anchors, targets)
        result = colorize_drawings(demo, after, pictures.sketch[shown])
        inside = pictures.regions[shown] == MORE_REGIONS[noun]
        hits = [named(np.median(image[mask], axis=0), noun) == target
                for image, mask, target in zip(result, inside, targets, strict=True)]  # fmt: skip
        print(f"{name}, {noun} edits: {sum(hits)} of {len(hits)} hit", flush=True)  # noqa: T201
        sketches = np.repeat(pictures.sketch[shown][..., None], 3, axis=-1)
        save_sheet((sketches, pictures.color[np.add(shown, 1)], result), output / f"edit-{noun}-art.png")


def named(rgb: np.ndarray, noun: str) -> str:
    return min(NOUN_COLORS[noun], key=lambda name: float(np.square(rgb - NOUN_COLORS[noun][name]).sum()))


def measure_sets(demo: Demo, sources: Sources, output: Path) -> None:
    """Prints the table of all sets, and the edits of the artists' figures."""
    print("| pictures | error | by region | lines | autoencoder alone | its lines |\n|" + " --- |" * 6)  # noqa: T201
    for name in (*ART_SETS, OWN_SET):
        pictures = unseen_pictures(name, sources)
        measure_set(demo, name, pictures, output)
        if name == "artists' figures":
            measure_art_edits(demo, name, pictures, output)

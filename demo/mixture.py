"""The demo's training pictures: artists' figures and things, and own figures, drawn once and saved.

Drawing goes in parts that any number of processes make; killed at any moment, it goes on with the part it was at.
"""

import json
import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from colorize_core.files import atomic_write

from .art.pairs import Side, art_pair
from .art.sources import Sources
from .figures import random_palette, random_pose, random_style, recolored, render
from .words import NOUN_COLORS

KIND_SHARES = {"own": 0.2, "avatars": 0.4, "things": 0.4}
PART_PAIRS = 50  # pairs drawn at once
ARRAYS = ("color", "sketch", "regions", "recolored")
TEXTS = ("words", "recolored_words", "known", "names")
OWN_UNKNOWN = ("lips",)  # own figures have mouths, in no color that has a name


@dataclass(frozen=True)
class MixedPictures:
    """Training pictures, memory-mapped; 2k and 2k+1 share their colors.

    `color` and `recolored` [N,S,S,3], `sketch` (black on white) and `regions` [N,S,S]: uint8, regions as words.py
    numbers them; the lists [N] are those of `Side`.
    """

    color: np.ndarray
    sketch: np.ndarray
    regions: np.ndarray
    recolored: np.ndarray
    words: list[dict[str, str]]
    recolored_words: list[dict[str, str]]
    known: list[list[str]]
    names: list[str]

    def __len__(self) -> int:
        return len(self.color)


def own_pair(rng: np.random.Generator, side: int) -> tuple[Side, Side]:
    """Two procedural figures of one palette."""
    palette = random_palette(rng)
    other = recolored(palette, rng)
    sides = []
    for _ in range(2):
        pose, style = random_pose(rng), random_style(rng)
        figure, changed = (render(colors, pose, style, side) for colors in (palette, other))
        known = tuple(noun for noun in NOUN_COLORS if noun not in OWN_UNKNOWN)
        arrays = figure.color, figure.sketch, figure.regions, changed.color
        sides.append(Side(*arrays, figure.words, changed.words, known, "own"))
    return tuple(sides)


def mixed_pair(seed: int, index: int, side: int, sources: Sources) -> tuple[Side, Side]:
    """Pair number `index` of a seed: of an own figure, an artist's, or of things, by KIND_SHARES."""
    rng = np.random.default_rng((seed, index))
    kind = str(rng.choice(list(KIND_SHARES), p=list(KIND_SHARES.values())))
    return own_pair(rng, side) if kind == "own" else art_pair(kind, (seed, index), side, sources, trained=True)


def draw_part(path: Path, seed: int, first: int, pairs: int, side: int, sources: Sources) -> None:
    """Saves pairs `first` to `first + pairs - 1` in one file."""
    if path.exists():
        return
    sides = [each for index in range(first, first + pairs) for each in mixed_pair(seed, index, side, sources)]
    arrays = {name: np.stack([getattr(each, name) for each in sides]) for name in ARRAYS}
    texts = [[each.words for each in sides], [each.recolored_words for each in sides], [each.known for each in sides]]
    texts.append([each.name for each in sides])
    with atomic_write(path) as file:
        np.savez(file, **arrays, texts=np.array(json.dumps(dict(zip(TEXTS, texts, strict=True)))))


def mixed_pictures(pairs: int, seed: int, folder: Path, side: int, sources: Sources, workers: int = 1) -> MixedPictures:
    """`pairs` pairs of pictures `side` pixels square, drawn into `folder` unless they are there."""
    path = folder / f"mixed-{side}-{pairs}-{seed}"
    if not path.is_dir():
        parts = folder / f"mixed-{side}-{seed}-parts"
        parts.mkdir(parents=True, exist_ok=True)
        jobs = []
        for first in range(0, pairs, PART_PAIRS):
            count = min(PART_PAIRS, pairs - first)
            jobs.append((parts / f"{first:07}-{count}.npz", seed, first, count, side, sources))
        if workers > 1:
            with ProcessPoolExecutor(workers) as pool:
                list(pool.map(draw_part, *zip(*jobs, strict=True)))
        else:
            for job in jobs:
                draw_part(*job)
        merge_parts([job[0] for job in jobs], path)
    texts = json.loads((path / "texts.json").read_text())
    return MixedPictures(*(np.load(path / f"{name}.npy", mmap_mode="r") for name in ARRAYS), **texts)


def merge_parts(parts: list[Path], path: Path) -> None:
    """Makes the folder `path` of parts in order: an array to a file, to be mapped into memory. It appears whole."""
    unfinished = path.with_name(path.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    texts: dict[str, list] = {name: [] for name in TEXTS}
    for part in parts:
        with np.load(part) as file:
            for name, values in json.loads(str(file["texts"])).items():
                texts[name] += values
    for name in ARRAYS:
        start = 0
        for part in parts:
            with np.load(part) as file:
                values = file[name]
            if part == parts[0]:
                shape = (len(texts["words"]), *values.shape[1:])
                whole = np.lib.format.open_memmap(unfinished / f"{name}.npy", "w+", np.uint8, shape)
            whole[start : start + len(values)] = values
            start += len(values)
        whole.flush()
    (unfinished / "texts.json").write_text(json.dumps(texts))
    unfinished.rename(path)

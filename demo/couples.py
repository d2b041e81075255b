"""Two figures side by side in one drawing, each with a reference of its own: does each take its own colors?

`python3 dev.py train-demo --only couples` measures Region Reference with a mask for each figure, and beside it what
there is without regions: the mean of the two references.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from colorize_core.host.colorize import colorize
from colorize_core.sketch import Sketch
from colorize_core.tokens import ReferenceTokens, Region

from .data import DrawnPictures, as_sketch
from .evaluate import GUIDANCE, SAMPLING_STEPS, Demo, demo_tokens, hits, save_sheet, uint8
from .figures import random_palette, random_pose, random_style, render

COUPLES, COUPLES_SEED = 64, 6
COUPLES_BATCH = 4


@dataclass(frozen=True)
class Couples:
    """`drawn` are 4N figures, for each drawing: left, its reference, right, its reference; all on one background."""

    drawn: DrawnPictures

    def of(self, array: np.ndarray, column: int) -> np.ndarray:
        return array[column::4]

    @property
    def sketch(self) -> np.ndarray:
        """The drawings [N,S,2S] uint8, black on white."""
        return np.concatenate([self.of(self.drawn.sketch, 0), self.of(self.drawn.sketch, 2)], axis=2)


def draw_couples(count: int, seed: int, size: int) -> Couples:
    """`count` drawings of two figures, each `size` pixels square; at any size a seed gives the same."""
    figures = []
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        left, right = random_palette(rng), random_palette(rng)
        ground = {"background": left.names["background"]}, {"background": left.rgb["background"]}
        right = replace(right, names=right.names | ground[0], rgb=right.rgb | ground[1])
        style = random_style(rng)
        for palette in (left, right):
            figures += [render(palette, random_pose(rng), style, size) for _ in range(2)]
    arrays = (np.stack([getattr(figure, name) for figure in figures]) for name in ("color", "sketch", "regions"))
    return Couples(DrawnPictures(*arrays, words=[figure.words for figure in figures]))


def with_regions(left: ReferenceTokens, right: ReferenceTokens, size: int) -> ReferenceTokens:
    """The left reference as that of the whole, the right one in the right half."""
    mask = torch.zeros(1, size, 2 * size)
    mask[:, :, size:] = 1
    return replace(left, regions=(Region(right, mask),))


def averaged(left: ReferenceTokens, right: ReferenceTokens, size: int) -> ReferenceTokens:
    return ReferenceTokens((left.cls + right.cls) / 2, (left.local + right.local) / 2)


def color_couples(demo: Demo, couples: Couples, join) -> np.ndarray:
    """The drawings colored [N,S,2S,3] uint8, by what `join` makes of their two references."""
    sketch, size = couples.sketch, couples.sketch.shape[1]
    references = [demo_tokens(demo, couples.of(couples.drawn.color, column)) for column in (1, 3)]
    parts = []
    for chunk in torch.arange(len(sketch)).split(COUPLES_BATCH):
        left, right = (ReferenceTokens(tokens.cls[chunk], tokens.local[chunk]) for tokens in references)
        drawing = Sketch(as_sketch(sketch[chunk]))
        latent = {"samples": torch.zeros(len(chunk), 4, size // 8, size // 4)}
        settings = {"steps": SAMPLING_STEPS, "reference_guidance": GUIDANCE}
        sampled = colorize(demo.model, join(left, right, size), drawing, latent, **settings)["samples"]
        parts.append(uint8(demo.vae.decode(sampled)))
    return np.concatenate(parts)


def own_hits(couples: Couples, colored: np.ndarray) -> dict[str, float]:
    """Per region, how often a figure has the color's name that it has in its own reference."""
    size = colored.shape[1]
    halves = couples.drawn.color.copy()
    halves[0::4], halves[2::4] = colored[:, :, :size], colored[:, :, size:]
    sketched = np.flatnonzero(np.arange(len(halves)) % 2 == 0)
    drawn = couples.drawn
    parts = [array[sketched] for array in (drawn.color, drawn.sketch, drawn.regions)]
    # `hits` looks up the words of what was seen; those of a figure and of its reference are of one palette.
    figures = DrawnPictures(*parts, words=[drawn.words[i + 1] for i in sketched])
    return hits(halves[sketched], figures, np.arange(len(sketched)))


def measure_couples(demo: Demo, size: int, output: Path) -> None:
    """Prints how often each figure takes its own reference's colors, and saves a sheet."""
    couples = draw_couples(COUPLES, COUPLES_SEED, size)
    results = {"regions": color_couples(demo, couples, with_regions), "mean": color_couples(demo, couples, averaged)}
    for name, colored in results.items():
        found = own_hits(couples, colored)
        row = " | ".join(f"{region} {found[region]:.2f}" for region in ("hair", "shirt", "skin", "background"))
        print(f"{COUPLES} drawings of two figures, {size} pixels each, {name}: {row}")  # noqa: T201
    sketches = np.repeat(couples.sketch[..., None], 3, axis=-1)
    references = [couples.of(couples.drawn.color, column) for column in (1, 3)]
    columns = (sketches, *references, results["regions"], results["mean"])
    save_sheet(tuple(column[:12] for column in columns), output / f"couples-sheet-{size}.png")

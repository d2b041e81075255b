"""Flat colors and color between lines against the artists' own: `python benchmarks/flats.py FOLDER`.

FOLDER holds NN-lines.png (black on white), NN-soft.png (what a colorizer gives) and NN-truth.png. The score is the mean
absolute difference to the truth in 255ths, where the lines are lighter than 0.9; areas are those of one color that
touch, in the truth those of 64 pixels or more of colors that cover 0.2 % of the paper.
"""

import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from colorize_core.images import resize
from colorize_core.layers.flats import flat_colors
from colorize_core.layers.lines import color_to_lines

PAPER, COMMON, LEAST_AREA = 0.9, 0.002, 64


def read(path: Path, mode: str) -> torch.Tensor:
    return torch.from_numpy(np.asarray(Image.open(path).convert(mode), np.float32) / 255)


def count_areas(numbers: np.ndarray, least: int) -> int:
    """How many areas of `numbers` [H,W] have at least so many pixels."""
    sizes = [np.bincount(ndimage.label(numbers == number)[0].ravel())[1:] for number in np.unique(numbers)]
    return int(sum((size >= least).sum() for size in sizes))


def common_colors(truth: torch.Tensor, paper: torch.Tensor) -> torch.Tensor:
    colors, counts = truth[paper].unique(dim=0, return_counts=True)
    return colors[counts >= COMMON * paper.sum()]


def scores(lines: torch.Tensor, soft: torch.Tensor, truth: torch.Tensor) -> dict[str, float]:
    """What each method scores on one drawing, and how many areas there are for each of the truth's."""
    paper, picture, ink = lines > PAPER, soft.movedim(-1, 0), 1 - lines
    palette = common_colors(truth, paper)
    numbers, colors = flat_colors(picture, ink)
    named, known = flat_colors(picture, ink, palette=palette)
    made = {
        "soft": resize(picture[None], *lines.shape)[0].movedim(0, -1),
        "line layer": color_to_lines(picture, ink),
        "flats": colors[numbers.long()],
        "palette": known[named.long()],
    }
    found = {name: 255 * (image - truth)[paper].abs().mean().item() for name, image in made.items()}
    own = torch.cdist(truth.reshape(-1, 3), palette).argmin(dim=1).reshape(lines.shape)
    found["areas"] = count_areas(numbers.numpy(), 1) / max(1, count_areas(own.numpy(), LEAST_AREA))
    return found


def main() -> None:
    table = []
    for path in sorted(Path(sys.argv[1]).glob("*-lines.png")):
        parts = ((name, path.with_name(path.name.replace("lines", name))) for name in ("soft", "truth"))
        table.append(scores(read(path, "L"), *(read(part, "RGB") for _, part in parts)))
        print(path.name, *(f"{name} {score:.2f}" for name, score in table[-1].items()), flush=True)
    for name in table[0]:
        column = [row[name] for row in table]
        print(f"{name:10}  mean {statistics.mean(column):6.2f}  median {statistics.median(column):6.2f}")


if __name__ == "__main__":
    main()

"""Writes demo pictures as the folders that training reads: `python dev.py demo-pictures FOLDER`."""

import argparse
from pathlib import Path

from PIL import Image

from .data import draw_pairs


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo-pictures", description=__doc__.split(":")[0] + ".")
    parser.add_argument("folder", type=Path, help="gets the sub-folders color, sketch, reference and mask")
    parser.add_argument("--pairs", type=int, default=200, help="how many pairs of pictures (default: 200)")
    parser.add_argument("--size", type=int, default=128, help="their side in pixels (default: 128)")
    parser.add_argument("--seed", type=int, default=1, help="another one draws other figures (default: 1)")
    return parser.parse_args()


def write_pictures(folder: Path, pairs: int, size: int, seed: int) -> None:
    """PNG files 00000.png, 00001.png ... of the same names in four sub-folders.

    `color`, `sketch` (black on white), `mask` (gray: the number of a pixel's region) and `reference`: the same palette
    in another pose, that is the color picture 2k for 2k+1 and the other way round.
    """
    pictures = draw_pairs(pairs, seed, size)
    count = len(pictures)
    columns = {
        "color": pictures.color,
        "sketch": pictures.sketch,
        "mask": pictures.regions,
        "reference": [pictures.color[i ^ 1] for i in range(count)],
    }
    for name, images in columns.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i, image in enumerate(images):
            Image.fromarray(image).save(folder / name / f"{i:05}.png")


if __name__ == "__main__":
    args = arguments()
    write_pictures(args.folder, args.pairs, args.size, args.seed)
    print(f"{2 * args.pairs} pictures of {args.size}x{args.size} pixels: {args.folder.resolve()}")  # noqa: T201

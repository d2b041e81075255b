"""The demo's pictures, drawn once and saved: pairs that share a palette and differ in pose."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from colorize_core.files import atomic_write

from .figures import random_palette, random_pose, random_style, recolored, render


@dataclass(frozen=True)
class DrawnPictures:
    """`color` [N,S,S,3], `sketch` [N,S,S] (black on white), `regions` [N,S,S]: uint8; `words` [N].

    Pictures 2k and 2k+1 share a palette.
    """

    color: np.ndarray
    sketch: np.ndarray
    regions: np.ndarray
    words: list[dict[str, str]]

    def __len__(self) -> int:
        return len(self.color)


def draw_pairs(pairs: int, seed: int, size: int, recolor: bool = False) -> DrawnPictures:
    """`pairs` pairs of pictures `size` pixels square; at any size a seed gives the same figures.

    `recolor` gives one region of each pair another color than without it.
    """
    figures = []
    for pair in range(pairs):
        rng = np.random.default_rng((seed, pair))
        palette = random_palette(rng)
        colors = recolored(palette, np.random.default_rng((seed, pair, 1))) if recolor else palette
        figures += [render(colors, random_pose(rng), random_style(rng), size) for _ in range(2)]
    arrays = (np.stack([getattr(f, name) for f in figures]) for name in ("color", "sketch", "regions"))
    return DrawnPictures(*arrays, words=[f.words for f in figures])


def cached_pairs(pairs: int, seed: int, folder: Path, size: int, recolor: bool = False) -> DrawnPictures:
    """`draw_pairs(pairs, seed, size, recolor)`, saved in `folder` for the next time."""
    path = folder / f"{'recolored' if recolor else 'pictures'}-{size}-{pairs}-{seed}.npz"
    if not path.exists():
        pictures = draw_pairs(pairs, seed, size, recolor)
        words = np.array(json.dumps(pictures.words))
        with atomic_write(path) as file:
            np.savez(file, color=pictures.color, sketch=pictures.sketch, regions=pictures.regions, words=words)
    with np.load(path) as file:
        words = json.loads(str(file["words"]))
        return DrawnPictures(file["color"], file["sketch"], file["regions"], words)


def area_weights(regions: np.ndarray, power: float) -> np.ndarray:
    """What each pixel of `regions` [N,S,S] counts, float32 of mean 1 in a picture: a large region's less.

    They fall with this power of the region's area, 0 to 1: eyes and skirts are learned as well as skies.
    """
    weight = np.stack([np.bincount(r.ravel()).clip(1)[r] ** -power for r in regions])
    return (weight / weight.mean(axis=(1, 2), keepdims=True)).astype(np.float32)


def images(uint8: np.ndarray) -> torch.Tensor:
    """[B,H,W,3] in 0..255 as [B,3,H,W] in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(uint8)).permute(0, 3, 1, 2).float().div(127.5).sub(1)


def as_sketch(drawings: np.ndarray) -> torch.Tensor:
    """Drawings [B,H,W] uint8, black on white, as sketches [B,3,H,W] in [-1, 1], white on black."""
    return 1 - torch.from_numpy(drawings).float().div(127.5)[:, None].expand(-1, 3, -1, -1)

"""Sketches and references that no set-up was trained on, and all that is known of them."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn.functional import interpolate

from demo.clip import REGION_OF_NOUN
from demo.data import images
from demo.figures import PROP_COLORS, REGIONS, Figure, Palette, Pose, random_palette, random_pose
from demo.vae import prescribed_latent

from . import measures
from .data import LARGE_SIZE, SIZE, drawn_figures, warped

TEST_SEED, TESTS = 23, 48


@dataclass(frozen=True)
class Unseen:
    """Sketches to be colored, and all that is known of them; the figures of a row share a palette.

    `small` are the sketches' own pictures. `references` show another view and something behind the figure, which no
    sketch has; `strangers` were drawn by the same rule and are shown to nobody.
    """

    palettes: list[Palette]
    small: list[Figure]
    matching: np.ndarray
    references: list[Figure]
    strangers: list[Figure]


def unseen_figures() -> Unseen:
    palettes, own, others, strangers = [], [], [], []
    for number in range(TESTS):
        rng = np.random.default_rng((TEST_SEED, number))
        palette, pose = random_palette(rng), replace(random_pose(rng), prop="nothing")
        palettes.append(palette)
        own.append((palette, pose))
        others.append((palette, mismatched(pose, rng)))
        strangers.append((palette, mismatched(pose, rng)))
    large = np.stack([figure.color for figure in drawn_figures(own, LARGE_SIZE)])
    return Unseen(
        palettes,
        drawn_figures(own, SIZE),
        warped(large, TEST_SEED),
        drawn_figures(others, LARGE_SIZE),
        drawn_figures(strangers, LARGE_SIZE),
    )


def mismatched(pose: Pose, rng: np.random.Generator) -> Pose:
    while True:
        other = random_pose(rng)
        if other.view != pose.view and other.prop != "nothing":
            return other


def known_regions(references: list[Figure]) -> torch.Tensor:
    """Which regions can be seen in each reference, [B,R]."""
    rows = [[region in {REGION_OF_NOUN[noun] for noun in f.words} for region in REGIONS] for f in references]
    return torch.tensor(rows)


def palette_colors(palettes: list[Palette]) -> torch.Tensor:
    """[B,R+1,3]: of the regions, and of what stands behind a figure."""
    return torch.tensor([[*p.rgb.values(), PROP_COLORS[p.names["background"]]] for p in palettes]).float()


def as_patches(pictures: list[Figure]) -> torch.Tensor:
    """The patch colors of pictures that are larger than the sketches, at the sketches' size."""
    color = interpolate(images(np.stack([f.color for f in pictures])), size=SIZE, mode="area")
    return measures.patch_colors(prescribed_latent(color))

"""What the set-ups are trained on: figures in one style and, as references, tokens of their warped selves."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from colorize_core.files import atomic_write
from colorize_core.host.clip import encode_reference, load_clip
from colorize_core.tokens import ReferenceTokens
from colorize_core.training.deformation import thin_plate_spline
from demo.clip import GRID
from demo.data import as_sketch, images
from demo.figures import Figure, Palette, Pose, Style, random_palette, random_pose, render
from demo.vae import prescribed_latent

DATA_SEED = 21
PICTURES, WARPS = 2000, 3  # training pictures, and references of each
SIZE, LARGE_SIZE = 64, 128  # side of a picture, and of the same one as a reference, in pixels
STYLE = Style(line=3.0, sketch_line=3.0, ink=(24, 18, 28), pencil=0, looseness=0.0, looseness_seed=0)
WARP, CONTROL_POINTS = 0.1, 4
SEEN_TOKENS = 64  # of the 256 local ones, drawn anew each step: cheaper, and an augmentation
BATCH = 32


@dataclass(frozen=True)
class EncodedFigures:
    """`latent` [N,4,h,w], `sketch` [N,3,8h,8w] as the sketch encoder sees it, `tokens` [N,W,256,D] of W warps."""

    latent: torch.Tensor
    sketch: torch.Tensor
    tokens: torch.Tensor


def random_figure(number: int) -> tuple[Palette, Pose]:
    rng = np.random.default_rng((DATA_SEED, number))
    return random_palette(rng), random_pose(rng)


def warped(color: np.ndarray, seed: int) -> np.ndarray:
    """uint8 pictures [B,S,S,3], each bent as a thin plate."""
    bent = thin_plate_spline(images(color), WARP, CONTROL_POINTS, torch.Generator().manual_seed(seed))
    return bent.add(1).mul(127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


@functools.cache
def clip_vision(file: Path):
    return load_clip(str(file))[0]


@torch.no_grad()
def placed_tokens(file: Path, color: np.ndarray) -> ReferenceTokens:
    """The tokens of uint8 pictures [B,S,S,3], by the CLIP in `file`, and where they stand."""
    parts = [encode_reference(clip_vision(file), chunk / 255) for chunk in torch.from_numpy(color).split(64)]
    local = torch.cat([part.local for part in parts])
    return ReferenceTokens(torch.cat([part.cls for part in parts]), local + position_code(local.shape[-1]))


def position_code(width: int) -> torch.Tensor:
    """[256,width] of mean square 1, which tells each local token's place.

    The tokens of a large CLIP know their places; those of the demo's do not, so nothing of a layout could leak.
    """
    place = (torch.arange(GRID) + 0.5) / GRID
    angle = torch.pi * place[:, None] * torch.tensor([1.0, 2.0, 4.0, 8.0])
    waves = torch.cat([angle.sin(), angle.cos()], 1)
    y, x = (waves[index] for index in torch.meshgrid(torch.arange(GRID), torch.arange(GRID), indexing="ij"))
    waves = torch.cat([y, x], -1).flatten(0, 1)
    directions = torch.linalg.qr(torch.randn(width, waves.shape[1], generator=torch.Generator().manual_seed(0)))[0]
    code = waves @ directions.T
    return code / code.square().mean().sqrt()


def drawn_figures(poses: list[tuple[Palette, Pose]], size: int) -> list[Figure]:
    return [render(palette, pose, STYLE, size) for palette, pose in poses]


def encoded_figures(folder: Path, clip: Path) -> EncodedFigures:
    """The training pictures, saved in `folder` for the next time."""
    path = folder / "encoded.pt"
    if not path.exists():
        poses = [random_figure(number) for number in range(PICTURES)]
        small = drawn_figures(poses, SIZE)
        large = np.stack([figure.color for figure in drawn_figures(poses, LARGE_SIZE)])
        tokens = torch.stack([placed_tokens(clip, warped(large, seed)).local.half() for seed in range(WARPS)], 1)
        latent = prescribed_latent(images(np.stack([figure.color for figure in small])))
        sketch = torch.from_numpy(np.stack([figure.sketch for figure in small]))
        with atomic_write(path) as file:
            torch.save({"latent": latent, "sketch": sketch, "tokens": tokens}, file)
    data = torch.load(path, weights_only=True)
    return EncodedFigures(data["latent"], as_sketch(data["sketch"].numpy()), data["tokens"])


def figure_batches(
    data: EncodedFigures, hints: torch.Tensor, seed: int, start: int
) -> Iterator[dict[str, torch.Tensor]]:
    """Batches from step `start` on, each a function of seed and step; `hints` [N,...] is what tells the shapes."""
    step = start
    while True:
        rng = np.random.default_rng((seed, step))
        picks, warps = rng.integers(len(data.latent), size=BATCH), rng.integers(WARPS, size=BATCH)
        seen = rng.permutation(data.tokens.shape[2])[:SEEN_TOKENS]
        yield {
            "latent": data.latent[picks],
            "sketch": hints[picks],
            "tokens": data.tokens[picks, warps][:, seen].float(),
            "seeds": (seed << 32) + step * BATCH + torch.arange(BATCH),
        }
        step += 1

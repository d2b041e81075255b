"""The stages of the demo training, in order; each reads what the ones before it left in `folder`."""

import functools
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from ...checkpoint import METADATA_KEY, VAE_PREFIX, to_published_keys
from ...host.trainable import build_autoencoder, build_unet
from ..loop import train
from . import clip as tiny_clip
from . import colorizer as tiny_colorizer
from . import vae
from .data import cached, draw, images

SEED = 1
PAIRS, LARGE_PAIRS = 4000, 1500
SMALL, LARGE = 64, 128  # sides of the pictures, in pixels
AUTOENCODER_STEPS = 2400
CLIP_STEPS = 700
SMALL_STEPS, SMALL_BATCH = 1000, 64
LARGE_STEPS, LARGE_BATCH = 900, 16

DEMO = Path("demo")
EXAMPLE_SEED, EXAMPLE_SIZE = 2, 512  # of the drawing and the reference that come with the model
MODEL_NOTE = "A demo of the ColorizeDiffusion nodes, trained on drawn figures alone: it colours nothing else."
CLIP_NOTE = "The CLIP of the demo model; it knows the words of its figures (blonde hair, red skirt, night background)."

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autoencoder(folder: Path) -> nn.Module:
    model = build_autoencoder(vae.DDCONFIG).to(DEVICE)
    small, large = cached(PAIRS, SEED, folder, SMALL), cached(PAIRS, SEED, folder, LARGE)

    def loss(rng: np.random.Generator, step: int) -> torch.Tensor:
        return vae.loss(model, vae.batch(large if step % 4 == 3 else small, rng).to(DEVICE))

    return train("autoencoder", model, loss, steps=AUTOENCODER_STEPS, peak_rate=2e-3, folder=folder, seed=SEED)


def clip(folder: Path) -> nn.Module:
    model, pictures = tiny_clip.build().to(DEVICE), cached(PAIRS, SEED, folder, LARGE)

    def loss(rng: np.random.Generator, step: int) -> torch.Tensor:
        return tiny_clip.loss(model, pictures, rng)

    return train("clip", model, loss, steps=CLIP_STEPS, peak_rate=1.2e-3, folder=folder, seed=SEED)


def colorizer(folder: Path) -> nn.Module:
    model = build_unet(tiny_colorizer.CONFIG).to(DEVICE)

    def loss(rng: np.random.Generator, step: int) -> torch.Tensor:
        if step < SMALL_STEPS:
            return tiny_colorizer.loss(model, encoded(folder, SMALL, PAIRS), SMALL_BATCH, rng)
        return tiny_colorizer.loss(model, encoded(folder, LARGE, LARGE_PAIRS), LARGE_BATCH, rng)

    steps = SMALL_STEPS + LARGE_STEPS
    return train("colorizer", model, loss, steps=steps, peak_rate=1.5e-3, folder=folder, seed=SEED)


@functools.cache
def encoded(folder: Path, size: int, pairs: int) -> tiny_colorizer.Encoded:
    """The first `pairs` pairs of a size as latents and tokens; the reference is always shown large."""
    pictures, shown = cached(PAIRS, SEED, folder, size), cached(PAIRS, SEED, folder, LARGE)
    return tiny_colorizer.Encoded(
        latent=latents(pictures.color[: 2 * pairs]),
        sketch=pictures.sketch[: 2 * pairs],
        tokens=kept(folder / f"tokens-{CLIP_STEPS}.npy", lambda: tokens(clip(folder), shown.color))[: 2 * pairs],
    )


def kept(path: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    if not path.exists():
        unfinished = path.with_suffix(".unfinished.npy")
        np.save(unfinished, make())
        os.replace(unfinished, path)
    return np.load(path)


def latents(color: np.ndarray) -> np.ndarray:
    chunks = np.array_split(color, max(1, len(color) // 64))
    return np.concatenate([vae.prescribed_latent(images(c)).numpy() for c in chunks])


@torch.no_grad()
def tokens(model: nn.Module, color: np.ndarray) -> np.ndarray:
    chunks = np.array_split(color, max(1, len(color) // 64))
    return np.concatenate([tiny_clip.image_tokens(model, c).half().cpu().numpy() for c in chunks])


def export(folder: Path) -> None:
    """Writes what the stages trained to `demo/`, half precision, in the layouts that the nodes load."""
    DEMO.mkdir(exist_ok=True)
    model = to_published_keys(colorizer(folder).state_dict())
    model |= {VAE_PREFIX + key: value for key, value in autoencoder(folder).state_dict().items()}
    model["v_pred"] = torch.tensor([])  # by this key any loader knows that it predicts velocities
    about = {"num_head_channels": tiny_colorizer.CONFIG.num_head_channels}
    save(model, DEMO / "colorize-demo.safetensors", {METADATA_KEY: json.dumps(about), "description": MODEL_NOTE})

    towers = clip(folder).state_dict()
    ids = tiny_clip.vocabulary()
    towers["token_embedding.weight"] = towers["token_embedding.weight"][ids]
    towers["token_embedding.ids"] = ids
    about = {"open_clip_config": json.dumps(tiny_clip.CONFIG), "description": CLIP_NOTE}
    save(towers, DEMO / "clip-demo.safetensors", about)

    pictures = draw(1, EXAMPLE_SEED, EXAMPLE_SIZE, line_width=1.5 * EXAMPLE_SIZE / LARGE)
    Image.fromarray(pictures.color[0]).save(DEMO / "reference.png")
    Image.fromarray(pictures.sketch[1]).save(DEMO / "sketch.png")


def save(weights: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
    halved = {k: (v.half() if v.is_floating_point() else v).cpu().contiguous() for k, v in weights.items()}
    unfinished = path.with_suffix(".unfinished")
    save_file(halved, unfinished, metadata)
    os.replace(unfinished, path)


def evaluate(folder: Path) -> None:
    """Colours unseen sketches with the files of `demo/`; says how often the colours are right, sheets go to `out/`."""
    from . import evaluate as evaluation  # here, since it loads most of the host

    with torch.inference_mode():
        demo = evaluation.load(DEMO)
        evaluation.measure(demo, Path("out"))
        evaluation.measure_edits(demo, Path("out"))

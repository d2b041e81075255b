"""The stages of the demo training, in order; each reads what the ones before it left in `folder`."""

import functools
import hashlib
import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from ...checkpoint import VAE_PREFIX
from ...host.trainable import Colorizer, build_autoencoder, build_unet
from ..export import save_checkpoint, save_weights
from ..trainer import Settings, train
from . import clip as tiny_clip
from . import colorizer as tiny_colorizer
from . import vae
from .data import Pictures, area_weights, cached, draw, images

SEED = 1
PAIRS = {64: 10000, 128: 10000, 192: 2000, 256: 3000}  # how many pairs are drawn, by the side of the picture in pixels
AUTOENCODER_STEPS = 6000
AUTOENCODER_SIZES = (64, 128, 64, 256)  # in turn
CLIP_STEPS = 1400
SMALL_STEPS, SMALL_BATCH = 1000, 64  # at 64 pixels, the colorizer's first part
MIXED_STEPS = 17500
MIXED = ((64, 64, 0.1), (128, 16, 0.5), (192, 7, 0.1), (256, 4, 0.3))  # its second: side, batch, how often

DEMO = Path("demo")
EXAMPLE_SEED, EXAMPLE_SIZE = 2, 512  # of the drawing and the reference that come with the model
MODEL_NOTE = "A demo of the ColorizeDiffusion nodes, trained on drawn figures alone: it colors nothing else."
CLIP_NOTE = "The CLIP of the demo model; it knows the words of its figures (blonde hair, red skirt, night background)."


Loss = Callable[[nn.Module, np.random.Generator, int], torch.Tensor]


def trained(name: str, model: nn.Module, loss: Loss, steps: int, peak_rate: float, folder: Path) -> nn.Module:
    """`model` after `steps` of `loss(model, rng, step)`; what a step draws depends on its number alone."""
    settings = Settings(
        steps=steps,
        learning_rate=peak_rate,
        warmup_steps=100,
        schedule="warmup_stable_decay",
        ema=0.998,
        betas=(0.9, 0.99),
        save_every=100,
        seed=SEED,
    )

    def loss_of(model: nn.Module, step: int) -> torch.Tensor:
        return loss(model, np.random.default_rng((SEED, step)), step)

    return train(model, itertools.count, loss_of, settings, folder / name)


def autoencoder(folder: Path) -> nn.Module:
    def loss(model: nn.Module, rng: np.random.Generator, step: int) -> torch.Tensor:
        size = AUTOENCODER_SIZES[step % len(AUTOENCODER_SIZES)]
        return vae.loss(model, *vae.batch(pictures(folder, size), rng))

    return trained("autoencoder", build_autoencoder(vae.DDCONFIG), loss, AUTOENCODER_STEPS, 2e-3, folder)


def clip(folder: Path) -> nn.Module:
    def loss(model: nn.Module, rng: np.random.Generator, step: int) -> torch.Tensor:
        return tiny_clip.loss(model, pictures(folder, 256 if step % 4 == 3 else 128), rng)

    return trained("clip", tiny_clip.build(), loss, CLIP_STEPS, 1.2e-3, folder)


def colorizer(folder: Path) -> nn.Module:
    data = {size: encoded(folder, size) for size in PAIRS}

    def loss(model: nn.Module, rng: np.random.Generator, step: int) -> torch.Tensor:
        size, batch = (64, SMALL_BATCH) if step < SMALL_STEPS else mixed(rng)
        return tiny_colorizer.loss(model, data[size], batch, rng)

    model = Colorizer(build_unet(tiny_colorizer.CONFIG))
    return trained("colorizer", model, loss, SMALL_STEPS + MIXED_STEPS, 1.5e-3, folder).unet


def mixed(rng: np.random.Generator) -> tuple[int, int]:
    """Size and batch of a step of the colorizer's second part."""
    size, batch, _ = MIXED[rng.choice(len(MIXED), p=[share for *_, share in MIXED])]
    return size, batch


@functools.cache
def pictures(folder: Path, size: int) -> Pictures:
    return cached(PAIRS[size], SEED, folder, size)


def encoded(folder: Path, size: int) -> tiny_colorizer.Encoded:
    """The pictures of a size as latents and tokens; the smallest are shown to CLIP at twice their size."""
    drawn = pictures(folder, size)
    shown = cached(PAIRS[size], SEED, folder, max(size, 128))
    recolored = cached(PAIRS[size], SEED, folder, size, recolor=True)
    towers = clip(folder)
    of = f"{size}-{PAIRS[size]}-{SEED}-{fingerprint(towers)}"
    return tiny_colorizer.Encoded(
        latent=latents(drawn.color),
        sketch=drawn.sketch,
        chance=tiny_colorizer.chances(drawn),
        tokens=kept(folder / f"tokens-{of}.npy", lambda: tokens(towers, shown.color)),
        recolored=latents(recolored.color),
        change=tiny_colorizer.changes(drawn.words, recolored.words),
        phrases=tiny_clip.phrase_features(towers),
        weight=place_weights(drawn.regions),
    )


def fingerprint(module: nn.Module) -> str:
    """The weights in eight digits: what was made with others is not to be taken for theirs."""
    return hashlib.sha256(safetensors.torch.save(module.state_dict())).hexdigest()[:8]


def kept(path: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    if not path.exists():
        unfinished = path.with_suffix(".unfinished.npy")
        np.save(unfinished, make())
        os.replace(unfinished, path)
    return np.load(path)


def latents(color: np.ndarray) -> np.ndarray:
    return in_chunks(lambda chunk: vae.prescribed_latent(images(chunk)), color)


def place_weights(regions: np.ndarray) -> np.ndarray:
    """`area_weights` for each place of a latent: [N,S,S] -> [N,1,S/8,S/8]."""

    def weights(chunk: np.ndarray) -> torch.Tensor:
        return F.avg_pool2d(torch.from_numpy(area_weights(chunk, tiny_colorizer.AREA_POWER))[:, None], vae.PATCH)

    return in_chunks(weights, regions)


@torch.no_grad()
def tokens(model: nn.Module, color: np.ndarray) -> np.ndarray:
    return in_chunks(lambda chunk: tiny_clip.image_tokens(model, chunk).half().cpu(), color)


def in_chunks(function: Callable[[np.ndarray], torch.Tensor], pictures: np.ndarray) -> np.ndarray:
    """`function` of all pictures [N,...], some at a time: in float they take much memory."""
    chunks = np.array_split(pictures, max(1, len(pictures) // 64))
    return np.concatenate([function(chunk).numpy() for chunk in chunks])


def export(folder: Path) -> None:
    """Writes what the stages trained to `demo/`, in the layouts that the nodes load, and an example to try it on."""
    DEMO.mkdir(exist_ok=True)
    vae_weights = {VAE_PREFIX + key: value for key, value in autoencoder(folder).state_dict().items()}
    unet = colorizer(folder).state_dict()
    save_checkpoint(
        DEMO / "colorize-demo.safetensors", tiny_colorizer.CONFIG, unet, vae_weights, {"description": MODEL_NOTE}
    )
    towers = clip(folder).state_dict()
    ids = tiny_clip.vocabulary()
    towers["token_embedding.weight"] = towers["token_embedding.weight"][ids]
    towers["token_embedding.ids"] = ids
    about = {"open_clip_config": json.dumps(tiny_clip.CONFIG), "description": CLIP_NOTE}
    save_weights(towers, DEMO / "clip-demo.safetensors", about)

    pictures = draw(1, EXAMPLE_SEED, EXAMPLE_SIZE)
    Image.fromarray(pictures.color[0]).save(DEMO / "reference.png")
    Image.fromarray(pictures.sketch[1]).save(DEMO / "sketch.png")


def evaluate(folder: Path) -> None:
    """Colors unseen sketches with the files of `demo/`; says how often the colors are right, sheets go to `out/`."""
    from . import evaluate as evaluation  # here, since it loads most of the host

    with torch.inference_mode():
        demo = evaluation.load(DEMO)
        for size in evaluation.SIZES:
            evaluation.measure(demo, size, Path("out"))
            evaluation.measure_edits(demo, size, Path("out"))

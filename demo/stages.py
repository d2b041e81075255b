"""The stages of the demo training, in order; each reads what the ones before it left in `folder`."""

import functools
import hashlib
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from colorize_core.checkpoint.keys import VAE_PREFIX
from colorize_core.files import atomic_write
from colorize_core.host.trainable import Colorizer, build_autoencoder, build_unet
from colorize_core.training.export import save_checkpoint, save_weights
from colorize_core.training.trainer import TrainingSettings, train

from . import clip as tiny_clip
from . import colorizer as tiny_colorizer
from . import vae
from .data import DrawnPictures, area_weights, cached_pairs, draw_pairs, images

DRAWING_SEED = 1
DRAWN_PAIRS = {64: 10000, 128: 10000, 192: 2000, 256: 3000}  # by the side of the picture in pixels
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

StepLoss = Callable[[nn.Module, np.random.Generator, int], torch.Tensor]


def trained_part(name: str, model: nn.Module, loss: StepLoss, steps: int, peak_rate: float, folder: Path) -> nn.Module:
    """`model` after `steps` of `loss(model, rng, step)`; what a step draws depends on its number alone."""
    settings = TrainingSettings(
        steps=steps,
        learning_rate=peak_rate,
        warmup_steps=100,
        schedule="warmup_stable_decay",
        ema=0.998,
        betas=(0.9, 0.99),
        save_every=100,
        seed=DRAWING_SEED,
    )

    def loss_of(model: nn.Module, step: int) -> torch.Tensor:
        return loss(model, np.random.default_rng((DRAWING_SEED, step)), step)

    return train(model, itertools.count, loss_of, settings, folder / name)


def autoencoder(folder: Path) -> nn.Module:
    def loss(model: nn.Module, rng: np.random.Generator, step: int) -> torch.Tensor:
        size = AUTOENCODER_SIZES[step % len(AUTOENCODER_SIZES)]
        return vae.autoencoder_loss(model, *vae.autoencoder_batch(pictures(folder, size), rng))

    return trained_part("autoencoder", build_autoencoder(vae.DDCONFIG), loss, AUTOENCODER_STEPS, 2e-3, folder)


def clip(folder: Path) -> nn.Module:
    def loss(model: nn.Module, rng: np.random.Generator, step: int) -> torch.Tensor:
        return tiny_clip.clip_loss(model, pictures(folder, 256 if step % 4 == 3 else 128), rng)

    return trained_part("clip", tiny_clip.build_clip(), loss, CLIP_STEPS, 1.2e-3, folder)


def colorizer(folder: Path) -> nn.Module:
    data = {size: encoded_pictures(folder, size) for size in DRAWN_PAIRS}

    def loss(model: nn.Module, rng: np.random.Generator, step: int) -> torch.Tensor:
        size, batch = (64, SMALL_BATCH) if step < SMALL_STEPS else mixed(rng)
        return tiny_colorizer.figures_loss(model, data[size], batch, rng)

    model = Colorizer(build_unet(tiny_colorizer.DEMO_CONFIG))
    return trained_part("colorizer", model, loss, SMALL_STEPS + MIXED_STEPS, 1.5e-3, folder).unet


def mixed(rng: np.random.Generator) -> tuple[int, int]:
    """Size and batch of a step of the colorizer's second part."""
    size, batch, _ = MIXED[rng.choice(len(MIXED), p=[share for *_, share in MIXED])]
    return size, batch


@functools.cache
def pictures(folder: Path, size: int) -> DrawnPictures:
    return cached_pairs(DRAWN_PAIRS[size], DRAWING_SEED, folder, size)


def encoded_pictures(folder: Path, size: int) -> tiny_colorizer.EncodedPictures:
    """The pictures of a size as latents and tokens; CLIP sees the smallest at twice their size."""
    drawn = pictures(folder, size)
    large = cached_pairs(DRAWN_PAIRS[size], DRAWING_SEED, folder, max(size, 128))
    recolored = cached_pairs(DRAWN_PAIRS[size], DRAWING_SEED, folder, size, recolor=True)
    towers = clip(folder)
    of = f"{size}-{DRAWN_PAIRS[size]}-{DRAWING_SEED}-{fingerprint(towers)}"
    return tiny_colorizer.EncodedPictures(
        latent=latents(drawn.color),
        sketch=drawn.sketch,
        chance=tiny_colorizer.chances(drawn),
        tokens=cached_array(folder / f"tokens-{of}.npy", lambda: all_tokens(towers, large.color)),
        recolored=latents(recolored.color),
        change=tiny_colorizer.changes(drawn.words, recolored.words),
        phrases=tiny_clip.phrase_features(towers),
        weight=place_weights(drawn.regions),
    )


def fingerprint(module: nn.Module) -> str:
    """The weights in eight digits: what was made with others is not to be taken for theirs."""
    return hashlib.sha256(safetensors.torch.save(module.state_dict())).hexdigest()[:8]


def cached_array(path: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    if not path.exists():
        with atomic_write(path) as file:
            np.save(file, make())
    return np.load(path)


def latents(color: np.ndarray) -> np.ndarray:
    return in_chunks(lambda chunk: vae.prescribed_latent(images(chunk)), color)


def place_weights(regions: np.ndarray) -> np.ndarray:
    """`area_weights` for each place of a latent: [N,S,S] -> [N,1,S/8,S/8]."""

    def weights(chunk: np.ndarray) -> torch.Tensor:
        return F.avg_pool2d(torch.from_numpy(area_weights(chunk, tiny_colorizer.PLACE_AREA_POWER))[:, None], vae.PATCH)

    return in_chunks(weights, regions)


@torch.no_grad()
def all_tokens(model: nn.Module, color: np.ndarray) -> np.ndarray:
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
        DEMO / "colorize-demo.safetensors", tiny_colorizer.DEMO_CONFIG, unet, vae_weights, {"description": MODEL_NOTE}
    )
    towers = clip(folder).state_dict()
    ids = tiny_clip.vocabulary()
    towers["token_embedding.weight"] = towers["token_embedding.weight"][ids]
    towers["token_embedding.ids"] = ids
    metadata = {"open_clip_config": json.dumps(tiny_clip.CLIP_CONFIG), "description": CLIP_NOTE}
    save_weights(towers, DEMO / "clip-demo.safetensors", metadata)

    pictures = draw_pairs(1, EXAMPLE_SEED, EXAMPLE_SIZE)
    Image.fromarray(pictures.color[0]).save(DEMO / "reference.png")
    Image.fromarray(pictures.sketch[1]).save(DEMO / "sketch.png")


def measure(folder: Path) -> None:
    """Colors unseen sketches with the files of `demo/`; says how often the colors are right, sheets go to `out/`."""
    from . import evaluate as evaluation  # here, since it loads most of the host

    with torch.inference_mode():
        demo = evaluation.load_demo(DEMO)
        for size in evaluation.MEASURED_SIZES:
            evaluation.measure_colors(demo, size, Path("out"))
            evaluation.measure_edits(demo, size, Path("out"))

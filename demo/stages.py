"""The stages of the demo training, in order; each reads what the ones before it left in the run's folder."""

import functools
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import nn

from colorize_core.checkpoint.keys import VAE_PREFIX
from colorize_core.files import atomic_write
from colorize_core.host.trainable import Colorizer, build_autoencoder, build_unet, load_start
from colorize_core.training.export import save_checkpoint, save_weights
from colorize_core.training.processes import start_processes
from colorize_core.training.settings import TrainingSettings
from colorize_core.training.trainer import train

from . import clip as tiny_clip
from . import colorizer as tiny_colorizer
from . import scenes, vae
from .art.sources import Sources, installed_sources
from .data import area_weights, images
from .mixture import MixedPictures, mixed_pictures

DRAWING_SEED = 1
DRAWN_PAIRS = {128: 12000, 256: 5000, 384: 1500}  # how many are drawn, by the side of the picture in pixels
AUTOENCODER_STEPS, AUTOENCODER_RATE = 8000, 2e-3
AUTOENCODER_SIZES = (128, 256)  # in turn
CLIP_STEPS, CLIP_RATE = 3000, 1.2e-3
COLORIZER_STEPS, COLORIZER_RATE = 18000, 1.5e-3
FIRST_STEPS = 1000  # the colorizer's, at the smallest size: where to look for which color carries over
COLORIZER_SIZES = ((128, 16, 0.6), (256, 4, 0.32), (384, 2, 0.08))  # after them: side, batch, how often
WARMUP = 100  # steps
STARTED_RATE = 0.5  # of the rates, where a part goes on from a file's weights
GPU_BATCH = 4  # times as large
CHUNK = 32  # pictures that are encoded at once

DEMO = Path("demo")
COUPLE_SIZE = 128  # of each of two figures in one drawing
CHECKPOINT_FILE, CLIP_FILE = "colorize-demo.safetensors", "clip-demo.safetensors"
MODEL_NOTE = "A demo of the ColorizeDiffusion nodes, trained on vector drawings of figures and things (demo/NOTICE)."
CLIP_NOTE = "The CLIP of the demo model; it knows the words of its figures (blonde hair, red skirt, night background)."

StepLoss = Callable[[nn.Module, np.random.Generator, int], torch.Tensor]


@dataclass(frozen=True)
class DemoRun:
    """A training: where its unfinished work and the packages are, and how much of it is done.

    `share`: of the steps and pictures of the whole training, up to 1; a run can go on with a larger one.
    `start`: the folder of a model to go on from, None to start from nothing. `unchanged`: parts of it that are not
    trained. `workers`: processes that draw.
    """

    folder: Path
    packages: Path
    share: float = 1.0
    start: Path | None = None
    workers: int = 1
    unchanged: tuple[str, ...] = ()

    def __post_init__(self):
        if not 0 < self.share <= 1:
            raise ValueError(f"share: is {self.share:g}; allowed is more than 0, up to 1.")
        for name in (CHECKPOINT_FILE, CLIP_FILE):
            if self.start and not (self.start / name).is_file():
                raise ValueError(f"start: {self.start} has no {name}; give the folder of a demo model.")
        if self.unchanged and not self.start:
            raise ValueError(f"keep: there is no {self.unchanged[0]} yet; give the folder of a demo model as start.")

    def of(self, whole: int) -> int:
        """The run's share of a number, enough to warm up and fall."""
        return max(2 * WARMUP, round(self.share * whole))


def on_gpu() -> bool:
    return torch.cuda.is_available()


def enlarged(batch: int) -> int:
    return batch * GPU_BATCH if on_gpu() else batch


def trained_part(name: str, model: nn.Module, loss: StepLoss, steps: int, peak_rate: float, run: DemoRun) -> nn.Module:
    """`model` after `steps` of `loss(model, rng, step)`, or unchanged; a step's number says what it draws."""
    processes = start_processes()
    if name in run.unchanged:
        return model.to(processes.device).eval()
    settings = TrainingSettings(
        steps=run.of(steps),
        learning_rate=peak_rate * (STARTED_RATE if run.start else 1),
        warmup_steps=WARMUP,
        schedule="warmup_stable_decay",
        mixed_precision="bf16" if on_gpu() else "no",
        ema=0.998,
        betas=(0.9, 0.99),
        save_every=100,
        seed=DRAWING_SEED,
    )
    if on_gpu():
        model.compile(dynamic=False)

    def numbered(first: int) -> Iterator[torch.Tensor]:
        return (torch.tensor([step]) for step in itertools.count(first))

    def loss_of(model: nn.Module, number: torch.Tensor) -> torch.Tensor:
        return loss(model, np.random.default_rng((DRAWING_SEED, int(number))), int(number))

    return train(processes, model, numbered, loss_of, settings, run.folder / name)


@functools.cache
def sources(run: DemoRun) -> Sources:
    return installed_sources(run.packages)


@functools.cache
def pictures(run: DemoRun, size: int) -> MixedPictures:
    return mixed_pictures(run.of(DRAWN_PAIRS[size]), DRAWING_SEED, run.folder, size, sources(run), run.workers)


def draw(run: DemoRun) -> None:
    """All training pictures; the other stages draw those that they need."""
    for size in DRAWN_PAIRS:
        pictures(run, size)


def autoencoder(run: DemoRun) -> nn.Module:
    def loss(model: nn.Module, rng: np.random.Generator, step: int) -> torch.Tensor:
        size = AUTOENCODER_SIZES[step % len(AUTOENCODER_SIZES)]
        return vae.autoencoder_loss(model, *vae.autoencoder_batch(pictures(run, size), rng, enlarged(vae.BATCH_PIXELS)))

    model = build_autoencoder(vae.DDCONFIG)
    if run.start:
        model.load_state_dict(vae.file_weights(run.start / CHECKPOINT_FILE))
    return trained_part("autoencoder", model, loss, AUTOENCODER_STEPS, AUTOENCODER_RATE, run)


def clip(run: DemoRun) -> nn.Module:
    def loss(model: nn.Module, rng: np.random.Generator, step: int) -> torch.Tensor:
        drawn = pictures(run, 256 if step % 4 == 3 else 128)
        return tiny_clip.clip_loss(model, drawn, rng, enlarged(tiny_clip.CLIP_BATCH))

    model = tiny_clip.ReadableClip()
    if run.start:
        tiny_clip.load_towers(model.towers, run.start / CLIP_FILE)
    return trained_part("clip", model, loss, CLIP_STEPS, CLIP_RATE, run).towers


def colorizer(run: DemoRun) -> nn.Module:
    data = {size: encoded_pictures(run, size) for size in DRAWN_PAIRS}

    def loss(model: nn.Module, rng: np.random.Generator, step: int) -> torch.Tensor:
        size, batch, _ = COLORIZER_SIZES[0]
        if run.start or step >= FIRST_STEPS:
            shares = [share for *_, share in COLORIZER_SIZES]
            size, batch, _ = COLORIZER_SIZES[rng.choice(len(shares), p=shares)]
        return tiny_colorizer.figures_loss(model, data[size], enlarged(batch), rng)

    if run.start:
        unet = load_start(str(run.start / CHECKPOINT_FILE), "checkpoint").unet
    else:
        unet = build_unet(tiny_colorizer.DEMO_CONFIG)
    return trained_part("colorizer", Colorizer(unet), loss, COLORIZER_STEPS, COLORIZER_RATE, run).unet


def encoded_pictures(run: DemoRun, size: int) -> tiny_colorizer.EncodedPictures:
    """The pictures of a size as latents and tokens."""
    drawn = pictures(run, size)
    encoder, towers = autoencoder(run), clip(run)

    def saved(name: str, model: nn.Module, make: Callable, color: np.ndarray) -> np.ndarray:
        path = run.folder / f"{name}-{size}-{len(drawn)}-{DRAWING_SEED}-{fingerprint(model)}.npy"
        return cached_array(path, lambda: make(model, color))

    return tiny_colorizer.EncodedPictures(
        latent=saved("latents", encoder, latents, drawn.color),
        sketch=drawn.sketch,
        chance=tiny_colorizer.mixed_chances(drawn),
        tokens=saved("tokens", towers, all_tokens, drawn.color),
        recolored=saved("recolored", encoder, latents, drawn.recolored),
        change=tiny_colorizer.changes(drawn.words, drawn.recolored_words),
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


@torch.no_grad()
def latents(model: nn.Module, color: np.ndarray) -> np.ndarray:
    """Scaled latents [N,4,S/8,S/8] of pictures [N,S,S,3]."""
    device = next(model.parameters()).device
    return in_chunks(lambda chunk: model.encode(images(chunk).to(device)).mul(vae.SCALE).cpu(), color)


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
    starts = range(0, len(pictures), CHUNK)
    return np.concatenate([function(pictures[start : start + CHUNK]).numpy() for start in starts])


def export(run: DemoRun) -> None:
    """Writes what the stages trained to `demo/`, in the layouts that the nodes load."""
    vae_weights = {VAE_PREFIX + key: value for key, value in autoencoder(run).state_dict().items()}
    unet = colorizer(run).state_dict()
    save_checkpoint(DEMO / CHECKPOINT_FILE, tiny_colorizer.DEMO_CONFIG, unet, vae_weights, {"description": MODEL_NOTE})
    towers = clip(run).state_dict()
    ids = tiny_clip.vocabulary()
    towers["token_embedding.weight"] = towers["token_embedding.weight"][ids]
    towers["token_embedding.ids"] = ids
    metadata = {"open_clip_config": json.dumps(tiny_clip.CLIP_CONFIG), "description": CLIP_NOTE}
    save_weights(towers, DEMO / CLIP_FILE, metadata)


def examples(run: DemoRun) -> None:
    """Draws the pictures of `demo/` to try the model on."""
    scenes.write_examples(DEMO)


def measure(run: DemoRun) -> None:
    """Colors unseen sketches with the files of `demo/`; says how often the colors are right, sheets go to `out/`."""
    from . import evaluate as evaluation  # here, since they load most of the host
    from . import measure_art

    with torch.inference_mode():
        demo = evaluation.load_demo(DEMO)
        measure_art.measure_sets(demo, sources(run), Path("out"))
        for size in evaluation.MEASURED_SIZES:
            evaluation.measure_colors(demo, size, Path("out"))
            evaluation.measure_edits(demo, size, Path("out"))


def couples(run: DemoRun) -> None:
    """Colors drawings of two figures with the files of `demo/`, a reference for each; a sheet goes to `out/`."""
    from .couples import measure_couples  # here, since it loads most of the host
    from .evaluate import load_demo

    with torch.inference_mode():
        measure_couples(load_demo(DEMO), COUPLE_SIZE, Path("out"))

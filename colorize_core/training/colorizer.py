"""Trains a colorizer as an experiment says: weights, frozen VAE and CLIP, pictures, loss and results put together."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from PIL import Image
from torch import nn

from ..checkpoint.keys import vae_weights
from ..host import standalone
from ..host.clip import MissingTower, encode_reference, load_clip
from ..host.files import read_state_dict
from ..host.load import MissingVAE, build_vae, load_checkpoint
from ..host.trainable import Colorizer, StartingPoint, build_unet, load_start
from ..host.versions import host_config
from ..versions.v1 import v1_config
from . import sheet
from .data import PictureFolder
from .diffusion import cumulative_alphas
from .experiment import Experiment
from .export import save_checkpoint
from .loader import batches
from .strategies import colorizer_loss, draw
from .trainer import train

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Encoders:
    """The host's VAE and CLIP_VISION, frozen: what training sees is what the nodes make of a picture."""

    vae: Any
    latent_format: Any
    clip_vision: Any
    token_type: str

    @torch.no_grad()
    def encode(self, part: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Scaled latents [B,4,h,w] and tokens [B,N,D] of a part's `color` and `reference`, on their device."""
        color, reference = (part[key].add(1).div(2).movedim(1, -1) for key in ("color", "reference"))
        with torch.autocast(color.device.type, enabled=False):
            latent = self.latent_format.process_in(self.vae.encode(color))
            both = encode_reference(self.clip_vision, reference)
            tokens = both.cls if self.token_type == "cls" else both.local
        return latent.to(color), tokens.to(color)


def run(experiment: Experiment) -> None:
    """Trains, and keeps the newest weights as a checkpoint for the nodes in `experiment.output`.

    ValueError names the file or the key of the experiment, what is wrong with it and what to do; SystemExit a package
    that it asks for and that is missing.
    """
    if experiment.training.tensorboard:
        standalone.require("tensorboard")
    state = PartialState()
    start = build_start(experiment)
    encoders = load_encoders(experiment, start)
    pictures = PictureFolder(experiment.data.root)
    samples = sheet.choose(pictures, experiment.data, experiment.samples) if experiment.samples else None
    folder = experiment.output.resolve()
    result = folder / f"{folder.name}.safetensors"
    if state.is_main_process:
        print_plan(experiment, start, pictures, result)

    def publish(model: nn.Module) -> None:
        unet = model.unet.state_dict()
        save_checkpoint(result, start.config, unet, start.vae, token_type=experiment.token_type)

    def on_save(model: nn.Module, steps: int) -> None:
        publish(model)
        if samples is None:
            return
        try:
            model, _ = load_checkpoint(str(result), token_type=experiment.token_type)
            image = sheet.colored(model, encoders.vae, encoders.clip_vision, samples)
        except torch.OutOfMemoryError:
            logger.warning("no sheet at step %d: out of memory; set samples to 0 or to fewer", steps)
            return
        save_sheet(image, folder, steps, experiment.training.tensorboard)

    trained = train(
        Colorizer(start.unet),
        batches_of(experiment, pictures, state),
        loss_of(experiment, start.config.prediction, encoders),
        experiment.training,
        folder,
        on_save,
        about=lasting(experiment, start.config.prediction),
    )
    if state.is_main_process:
        publish(trained)  # again, for a run that was killed between its last save and this
        print(f"Done: {result}")  # noqa: T201


def build_start(experiment: Experiment) -> StartingPoint:
    """The weights to start from, and the VAE: that of its own file where the experiment names one."""
    torch.manual_seed(experiment.training.seed)  # what is new starts at random
    if experiment.start.shape is None:
        start = load_start(str(experiment.start.file), experiment.start.kind, experiment.token_type)
    else:
        shape = experiment.start.shape
        config = v1_config("eps", shape.model_channels, shape.channel_mult, shape.context_dim, shape.num_head_channels)
        start = StartingPoint(config, build_unet(config), {})
    if experiment.prediction != "auto":
        start = replace(start, config=replace(start.config, prediction=experiment.prediction))
    if experiment.vae is not None:
        start = replace(start, vae=vae_weights(read_state_dict(str(experiment.vae))[0]))
    return start


def load_encoders(experiment: Experiment, start: StartingPoint) -> Encoders:
    """ValueError where there is no VAE, no image encoder, or one whose latents or tokens the model does not take."""
    file = (experiment.vae or experiment.start.file).name
    vae = build_vae(dict(start.vae), file)
    if isinstance(vae, MissingVAE):
        raise ValueError(f"vae: {file} holds none; name the file of one, that of Stable Diffusion 1 or 2 fits.")
    channels = vae.encode(torch.zeros(1, 8, 8, 3)).shape[1]
    if channels != start.config.unet.in_channels:
        raise ValueError(
            f"vae: the latents of {file} have {channels} channels and the model takes {start.config.unet.in_channels}; "
            "name the VAE of Stable Diffusion 1 or 2."
        )
    clip_vision, _ = load_clip(str(experiment.clip))
    if isinstance(clip_vision, MissingTower):
        raise ValueError(f"clip: {experiment.clip.name} has no image encoder; name the file of a whole CLIP.")
    encoders = Encoders(vae, host_config(start.config).latent_format, clip_vision, experiment.token_type)
    width = encode_reference(clip_vision, torch.zeros(1, 8, 8, 3)).local.shape[-1]
    if width != start.config.unet.context_dim:
        raise ValueError(
            f"clip: the tokens of {experiment.clip.name} are {width} wide and the model takes "
            f"{start.config.unet.context_dim}; name the CLIP that belongs to the model."
        )
    return encoders


def lasting(experiment: Experiment, prediction: str) -> dict[str, Any]:
    """What must stay for a training to go on, by key: another strategy, say, would silently train on the old weights.

    Files and folders may move.
    """
    sections = {name: vars(getattr(experiment, name)) for name in ("strategy", "deformation", "data")}
    told = {f"{name}.{key}": value for name, section in sections.items() for key, value in section.items()}
    kind = {"prediction": prediction, "token_type": experiment.token_type}
    return kind | {k: v for k, v in told.items() if k not in ("data.root", "data.workers")}


def batches_of(experiment: Experiment, pictures: PictureFolder, state: PartialState) -> Callable[[int], Iterator]:
    """For `train`: from a step on, this process's parts of the batches."""
    return lambda step: batches(
        pictures,
        experiment.data,
        experiment.deformation,
        experiment.training.seed,
        step,
        state.process_index,
        state.num_processes,
        experiment.training.accumulation,
    )


def loss_of(experiment: Experiment, prediction: str, encoders: Encoders) -> Callable[[nn.Module, dict], torch.Tensor]:
    """For `train`: the loss of a part, all that is random about it drawn by the seeds of its samples."""

    def loss(model: nn.Module, part: dict[str, torch.Tensor]) -> torch.Tensor:
        latent, tokens = encoders.encode(part)
        draws = draw(part["seed"].cpu(), latent.shape, tokens.shape, latent.device)
        alphas = cumulative_alphas().to(latent.device)
        return colorizer_loss(model, latent, part["sketch"], tokens, draws, experiment.strategy, prediction, alphas)

    return loss


def save_sheet(image: torch.Tensor, folder: Path, steps: int, tensorboard: bool) -> None:
    """`image` [3,H,W] in 0..1 as `folder`/sheets/<steps>.png, and among the curves of TensorBoard."""
    (folder / "sheets").mkdir(exist_ok=True)
    pixels = image.mul(255).round().clamp(0, 255).byte()
    Image.fromarray(np.ascontiguousarray(pixels.movedim(0, -1).numpy())).save(folder / "sheets" / f"{steps:08}.png")
    if tensorboard:
        from torch.utils.tensorboard import SummaryWriter

        # A run of its own: TensorBoard may stop reading the curves' file once another lies beside it.
        with SummaryWriter(folder / "tensorboard" / "sheets") as writer:
            writer.add_image("sketch, reference, result", pixels, steps)


def print_plan(experiment: Experiment, start: StartingPoint, pictures: PictureFolder, result: Path) -> None:
    config, settings = start.config, experiment.training
    parameters = sum(weight.numel() for weight in start.unet.parameters())
    origin = experiment.start.file.resolve() if experiment.start.file else "nothing"
    on = {name: value for name, value in vars(experiment.strategy).items() if value}
    lines = {
        "start": f"{origin} (v1, {config.prediction}, {experiment.token_type}, {parameters / 1e6:.0f} million weights)",
        "pictures": f"{len(pictures)} of {experiment.data.root.resolve()}, batches of {experiment.data.batch_size}",
        "strategy": ", ".join(f"{name} {value:g}" for name, value in on.items()) or "none",
        "training": f"{settings.steps} steps, learning rate {settings.learning_rate:g}, {PartialState().device}",
        "result": f"{result}, every {settings.save_every} steps",
    }
    print("\n".join(f"{name:9} {line}" for name, line in lines.items()), flush=True)  # noqa: T201

"""Trains a colorizer as an experiment says: weights, frozen VAE and CLIP, pictures, loss and results put together."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import torch
from accelerate import Accelerator
from torch import nn

from ..checkpoint.keys import vae_weights
from ..host.files import read_state_dict
from ..host.gradient_checkpointing import checkpoint_blocks
from ..host.trainable import Colorizer, StartingPoint, build_unet, load_start
from ..versions.v1 import v1_config
from . import loader
from .data import PictureFolder
from .diffusion import cumulative_alphas
from .encoded import EncodedPictures, encode_pictures
from .encoders import Encoders, load_encoders
from .experiment import Experiment
from .identity import encoding_settings, fixed_settings
from .parts import select_weights
from .plan import dry_run, print_plan
from .results import Results, publish, save_results
from .state import claimed
from .strategies import colorizer_loss, draw
from .trainer import train
from .validation import choose_samples


def run(experiment: Experiment, accelerator: Accelerator, dry: bool = False) -> None:
    """Trains, and keeps the newest weights as a file for the nodes in `experiment.output`.

    `dry` prints the plan and the memory by part, trains one step and saves nothing.

    ValueError names the file or the key of the experiment, what is wrong with it and what to do.
    """
    folder = experiment.output.resolve()
    with nullcontext() if dry else claimed(accelerator, folder):
        model, start, encoders = build_model(experiment)
        with accelerator.main_process_first():  # it lists them, the others read the list
            everything = PictureFolder(experiment.data.root, None if dry else folder / "index.npz")
        pictures, held_out = everything.split(experiment.validation.share)
        results = Results(experiment, start, encoders, choose_samples(experiment, pictures, held_out), bool(held_out))
        if accelerator.is_main_process:
            print_plan(experiment, start, pictures, held_out, results.file, accelerator)
        dataset = loader.picture_dataset(pictures, experiment.data, experiment.deformation)
        loss = loss_of(experiment, start.config.prediction, encoders)
        if dry:
            dry_run(experiment, start, encoders, accelerator, batches_of(experiment, dataset, accelerator), loss)
            return
        fixed, encoded = fixed_settings(experiment, start.config.prediction, everything), None
        if experiment.data.cache:
            cache, identity = experiment.data.cache.resolve(), encoding_settings(fixed)
            encoded = encode_pictures(accelerator, dataset, encoders, cache, identity)
        trained = train(
            accelerator,
            model,
            batches_of(experiment, dataset, accelerator, encoded),
            loss,
            experiment.training,
            folder,
            partial(save_results, results, accelerator),
            fixed,
        )
        if accelerator.is_main_process:
            publish(results, trained)  # again, for a run that was killed between its last save and this
            print(f"Done: {results.file}")  # noqa: T201


def build_model(experiment: Experiment) -> tuple[Colorizer, StartingPoint, Encoders]:
    """What is trained, as the experiment's settings of memory and speed want it, and what it starts from."""
    settings = experiment.training
    start = build_start(experiment)
    encoders = load_encoders(experiment, start)
    select_weights(start.unet, experiment.weights)
    if settings.gradient_checkpointing:
        checkpoint_blocks(start.unet)
    torch.set_float32_matmul_precision("high" if settings.tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = settings.tf32
    model = Colorizer(start.unet)
    if settings.channels_last:
        model = model.to(memory_format=torch.channels_last)
    return model, start, encoders


def build_start(experiment: Experiment) -> StartingPoint:
    """The weights to start from, and the VAE: that of its own file where the experiment names one."""
    torch.manual_seed(experiment.training.seed)  # what is new starts at random
    if experiment.start.shape is None:
        start = load_start(str(experiment.start.file), experiment.start.kind, experiment.token_type)
    else:
        shape = experiment.start.shape
        sizes = shape.model_channels, shape.channel_mult, shape.context_dim, shape.num_head_channels
        config = v1_config("eps", *sizes, token_type=experiment.token_type)
        start = StartingPoint(config, build_unet(config), {})
    if experiment.prediction != "auto":
        start = replace(start, config=replace(start.config, prediction=experiment.prediction))
    if experiment.vae is not None:
        start = replace(start, vae=vae_weights(read_state_dict(str(experiment.vae))[0]))
    return start


def batches_of(
    experiment: Experiment,
    dataset: loader.PictureDataset,
    accelerator: Accelerator,
    encoded: EncodedPictures | None = None,
) -> Callable[[int], Iterator[dict]]:
    """For `train`: from a step on, this process's parts of the batches."""
    return lambda step: loader.batches(
        dataset,
        experiment.training.seed,
        step,
        accelerator.process_index,
        accelerator.num_processes,
        experiment.training.accumulation,
        encoded,
    )


def loss_of(experiment: Experiment, prediction: str, encoders: Encoders) -> Callable[[nn.Module, dict], torch.Tensor]:
    """For `train`: the loss of a part, all that is random about it drawn by the seeds of its samples."""

    def loss(model: nn.Module, part: dict[str, torch.Tensor]) -> torch.Tensor:
        if "latent" in part:
            latent, tokens = part["latent"].float(), part["tokens"].float()
        else:
            latent, tokens = encoders.encode(part)
        draws = draw(part["seed"], latent.shape, tokens.shape, latent.device)
        alphas = cumulative_alphas().to(latent.device)
        return colorizer_loss(model, latent, part["sketch"], tokens, draws, experiment.strategy, prediction, alphas)

    return loss

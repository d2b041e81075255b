"""What a training is about to do, in words, before it begins; and all of it for one step, with nothing saved."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator

from ..host.trainable import Colorizer, StartingPoint
from .data import PictureFolder
from .encoders import Encoders
from .experiment import Experiment
from .memory_plan import memory_by_part
from .trainer import train

GIB = 2**30


def print_plan(
    experiment: Experiment,
    start: StartingPoint,
    pictures: PictureFolder,
    held_out: PictureFolder | None,
    result: Path,
    accelerator: Accelerator,
) -> None:
    config, settings, data = start.config, experiment.training, experiment.data
    weights = list(start.unet.parameters())
    total, trained = (sum(w.numel() for w in some) / 1e6 for some in (weights, [w for w in weights if w.requires_grad]))
    origin = experiment.start.file.resolve() if experiment.start.file else "nothing"
    on = {name: value for name, value in vars(experiment.strategy).items() if value}
    _print_lines(
        {
            "start": f"{origin} ({config.version.name}, {config.prediction}, {experiment.token_type})",
            "weights": f"{trained:.1f} of {total:.1f} million: {experiment.weights.part}",
            "pictures": f"{len(pictures)} of {data.root.resolve()}, batches of {data.batch_size}",
            "held out": f"{len(held_out)} pictures" if held_out else "none",
            **({"encoded": f"in {data.cache_versions} versions each, in {data.cache.resolve()}"} if data.cache else {}),
            "strategy": ", ".join(f"{name} {value:g}" for name, value in on.items()) or "none",
            "training": f"{settings.steps} steps, learning rate {settings.learning_rate:g}, {accelerator.device}",
            "processes": f"{accelerator.num_processes}, mixed precision {settings.mixed_precision}",
            "result": f"{result}, every {settings.save_every} steps",
        }
    )


def dry_run(
    experiment: Experiment,
    start: StartingPoint,
    encoders: Encoders,
    accelerator: Accelerator,
    batches: Callable,
    loss_of: Callable,
) -> None:
    """Prints the memory by part, trains one step in a folder that is thrown away, and prints what it took."""
    settings = experiment.training
    rows = experiment.data.batch_size // (accelerator.num_processes * settings.accumulation)
    if accelerator.is_main_process:
        parts = memory_by_part(experiment, start.config, encoders.size, rows)
        lines = {name: f"{size / GIB:6.2f} GiB" for name, size in parts.items()}
        print(f"Memory at {max(experiment.data.resolutions)} pixels, {rows} pictures at once:")  # noqa: T201
        _print_lines(lines | {"together": f"{sum(parts.values()) / GIB:6.2f} GiB"})
    model, begin = Colorizer(start.unet), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        one = replace(settings, steps=1, warmup_steps=0, tensorboard=False, wandb=False)
        train(accelerator, model, batches, loss_of, one, Path(folder), saves=False)
    found = {"one step": f"{time.perf_counter() - begin:6.1f} s"}
    if accelerator.device.type != "cpu":
        found["measured"] = f"{torch.accelerator.max_memory_allocated() / GIB:6.2f} GiB at most"
    if accelerator.is_main_process:
        _print_lines(found)


def _print_lines(lines: dict[str, str]) -> None:
    width = max(map(len, lines)) + 1
    print("\n".join(f"{name:{width}} {line}" for name, line in lines.items()), flush=True)  # noqa: T201

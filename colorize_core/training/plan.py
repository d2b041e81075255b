"""What a training is about to do, in words, before it begins."""

from pathlib import Path

from accelerate import Accelerator

from ..host.trainable import StartingPoint
from .data import PictureFolder
from .experiment import Experiment


def print_plan(
    experiment: Experiment, start: StartingPoint, pictures: PictureFolder, result: Path, accelerator: Accelerator
) -> None:
    config, settings = start.config, experiment.training
    weights = list(start.unet.parameters())
    total, trained = (sum(w.numel() for w in some) / 1e6 for some in (weights, [w for w in weights if w.requires_grad]))
    origin = experiment.start.file.resolve() if experiment.start.file else "nothing"
    on = {name: value for name, value in vars(experiment.strategy).items() if value}
    lines = {
        "start": f"{origin} ({config.version.name}, {config.prediction}, {experiment.token_type})",
        "weights": f"{trained:.1f} of {total:.1f} million: {experiment.weights.part}",
        "pictures": f"{len(pictures)} of {experiment.data.root.resolve()}, batches of {experiment.data.batch_size}",
        "strategy": ", ".join(f"{name} {value:g}" for name, value in on.items()) or "none",
        "training": f"{settings.steps} steps, learning rate {settings.learning_rate:g}, {accelerator.device}",
        "processes": f"{accelerator.num_processes}, mixed precision {settings.mixed_precision}",
        "result": f"{result}, every {settings.save_every} steps",
    }
    print("\n".join(f"{name:10} {line}" for name, line in lines.items()), flush=True)  # noqa: T201

"""What a training leaves at each save, beside its state: the model for the nodes, and a sheet of what it colors."""

import logging
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image

from ..checkpoint.writing import published_weights
from ..files import atomic_write
from ..host.load import build_patcher
from ..host.trainable import Colorizer, StartingPoint
from . import validation
from .encoders import Encoders
from .experiment import Experiment
from .export import halved, save_checkpoint, save_weights
from .parts import lora_weights, plain_weights
from .validation import Samples

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Results:
    """What it takes to publish a model of a training and to color with it.

    `samples` are colored at each save (None: none); `held_out` says whether the training has never seen them.
    """

    experiment: Experiment
    start: StartingPoint
    encoders: Encoders
    samples: Samples | None
    held_out: bool

    @property
    def folder(self) -> Path:
        return self.experiment.output.resolve()

    @property
    def file(self) -> Path:
        """The newest model: a checkpoint, or a LoRA."""
        return self.folder / f"{self.folder.name}.safetensors"


def publish(results: Results, model: Colorizer) -> None:
    """Writes `results.file` anew."""
    start, experiment = results.start, results.experiment
    if experiment.weights.part == "lora":
        save_weights(lora_weights(model.unet, experiment.weights.alpha), results.file, {})
    else:
        unet = plain_weights(model.unet)
        save_checkpoint(results.file, start.config, unet, start.vae, token_type=experiment.token_type)


def save_results(results: Results, accelerator: Accelerator, model: Colorizer, steps: int) -> dict[str, float]:
    """The model, also under its step if models are kept, the sheet, and what it does on pictures that were held out.

    For `train`, which logs the numbers that it returns; they also become a row of validation.csv.
    """
    publish(results, model)
    keep_models(results.file, steps, results.experiment.training.keep_models)
    if results.samples is None:
        return {}
    experiment, encoders, samples = results.experiment, results.encoders, results.samples
    try:
        colored = validation.color_samples(patcher_of(results, model), encoders, samples)
        if experiment.samples:
            image = validation.sheet(samples, colored, experiment.samples)
            save_sheet(image, results.folder, steps, experiment.training.tensorboard)
        if not results.held_out:
            return {}
        prediction = results.start.config.prediction
        numbers = validation.validation_numbers(accelerator, model, encoders, samples, colored, prediction)
    except torch.OutOfMemoryError:
        logger.warning("no sheet at step %d: out of memory; set samples and validation.share to 0", steps)
        return {}
    write_row(results.folder / "validation.csv", steps, numbers)
    return numbers


def write_row(file: Path, steps: int, numbers: dict[str, float]) -> None:
    """A row of numbers under their names; those of later steps, of a run that was killed, are taken out first."""
    rows = file.read_text().splitlines()[1:] if file.exists() else []
    rows = [row for row in rows if int(row.partition(",")[0]) < steps]
    rows.append(",".join([str(steps), *(f"{value:.6g}" for value in numbers.values())]))
    heading = ",".join(["step", *(name.rpartition("/")[2] for name in numbers)])
    with atomic_write(file) as unfinished:
        unfinished.write_text("\n".join([heading, *rows]) + "\n")


def patcher_of(results: Results, model: Colorizer):
    """The model that is trained as the host's MODEL, in the half precision of its file."""
    config = results.start.config
    weights = published_weights(config, plain_weights(model.unet))
    return build_patcher(config, halved(weights), results.file.name)


def keep_models(file: Path, steps: int, count: int) -> None:
    """A copy of the model under its step; of those before it the newest stay, so that there are `count`."""
    if not count:
        return
    with atomic_write(file.with_stem(f"{file.stem}-{steps:08}")) as copy:
        shutil.copyfile(file, copy)
    name = re.compile(re.escape(file.stem) + r"-\d{8}")
    for old in sorted(path for path in file.parent.glob("*.safetensors") if name.fullmatch(path.stem))[:-count]:
        old.unlink()


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

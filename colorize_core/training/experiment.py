"""An experiment: all that one training takes, as the sections of its YAML file (`config.load` reads it).

    start: {kind: checkpoint, file: mult-eps-ft.safetensors}
    clip: open_clip_model.safetensors
    data: {root: pictures, resolutions: [512], batch_size: 16}
    output: runs/noisy
    strategy: {noisy_rate: 1.0}
    training: {steps: 20000, learning_rate: 1e-5}

Paths are relative to the file. What is wrong in it is a ValueError that names the key, its value and what is allowed.
"""

from dataclasses import dataclass, field
from typing import Literal

from ..checkpoint.unet import NORM_GROUPS, default_head_channels
from .data import DataSettings
from .deformation import Deformation
from .parts import WeightSettings
from .settings import RelativePath, TrainingSettings, ValidationSettings
from .strategies import Strategy

V1_LEVELS = 4  # of a v1 model


@dataclass(frozen=True)
class Shape:
    """A new v1 model, by default in the published size; `context_dim` is the width of the CLIP's tokens.

    `num_head_channels` is the width of an attention head; None is half of `model_channels`, at most 64.
    """

    model_channels: int = 320
    channel_mult: tuple[int, ...] = (1, 2, 4, 4)
    context_dim: int = 1024
    num_head_channels: int | None = None

    def __post_init__(self):
        if len(self.channel_mult) != V1_LEVELS or min(self.channel_mult) < 1:
            given = list(self.channel_mult)
            raise ValueError(f"channel_mult: is {given}; allowed are {V1_LEVELS} numbers of 1 or more.")
        for name in ("model_channels", "context_dim", "num_head_channels"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: is {value}; allowed is 1 or more.")
        if self.model_channels % NORM_GROUPS:
            raise ValueError(f"model_channels: is {self.model_channels}; allowed are multiples of {NORM_GROUPS}.")
        heads = self.num_head_channels or default_head_channels(self.model_channels)
        if self.model_channels % heads:
            raise ValueError(
                f"num_head_channels: is {heads}, which does not divide model_channels, {self.model_channels}; "
                "name one that does."
            )


@dataclass(frozen=True)
class StartSettings:
    """What the training starts from: a ColorizeDiffusion or Stable Diffusion 2 `file`, or nothing, a new `shape`."""

    kind: Literal["checkpoint", "stable_diffusion", "nothing"]
    file: RelativePath | None = None
    shape: Shape | None = None

    def __post_init__(self):
        of_file = self.file is not None and self.shape is None
        of_shape = self.file is None and self.shape is not None
        if not (of_shape if self.kind == "nothing" else of_file):
            takes = "a `shape` and no `file`" if self.kind == "nothing" else "a `file` and no `shape`"
            raise ValueError(f"kind: is {self.kind}, which takes {takes}.")
        if self.file is not None:
            check_file("file", self.file)


@dataclass(frozen=True)
class Experiment:
    """One training. `vae`, and XL's `tagger`, are those of the start's file unless given; `prediction` auto is what
    the start predicts.

    `token_type` is the kind of the model, as in LoadCheckpoint: it takes the reference's local tokens (attention) or
    its CLS token. `samples` pictures are colored each time that the training saves, as a sheet to look at.
    """

    start: StartSettings
    clip: RelativePath
    data: DataSettings
    output: RelativePath
    training: TrainingSettings
    vae: RelativePath | None = None
    tagger: RelativePath | None = None
    strategy: Strategy = field(default_factory=Strategy)
    deformation: Deformation = field(default_factory=Deformation)
    weights: WeightSettings = field(default_factory=WeightSettings)
    validation: ValidationSettings = field(default_factory=ValidationSettings)
    prediction: Literal["auto", "eps", "v"] = "auto"
    token_type: Literal["attention", "cls"] = "attention"
    samples: int = 4

    def __post_init__(self):
        check_file("clip", self.clip)
        if self.tagger is not None:
            check_file("tagger", self.tagger)
        if self.vae is not None:
            check_file("vae", self.vae)
        elif self.start.kind == "nothing":
            raise ValueError("vae: is missing; a start from nothing needs the file of a VAE.")
        if not self.data.root.is_dir():
            raise ValueError(f"data.root: is {self.data.root}, and there is no such folder.")
        if self.samples < 0:
            raise ValueError(f"samples: is {self.samples}; allowed is 0 (none) or more.")
        if self.data.batch_size % self.training.accumulation:
            raise ValueError(
                f"training.accumulation: is {self.training.accumulation}; allowed are divisors of data.batch_size, "
                f"{self.data.batch_size}."
            )


def check_file(key: str, file: RelativePath) -> None:
    if not file.is_file():
        raise ValueError(f"{key}: is {file}, and there is no such file.")

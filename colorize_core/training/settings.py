"""How a model is trained: all that the training loop is to know."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, ValidationInfo

from .optimizer import learning_rate_at


def _in_folder(path: Path, info: ValidationInfo) -> Path:
    return info.context / path.expanduser()


RelativePath = Annotated[Path, AfterValidator(_in_folder)]  # in an experiment's file: relative to that file


@dataclass(frozen=True)
class TrainingSettings:
    """How a model is trained. Raises ValueError for numbers out of range.

    `schedule` is one of transformers'; "warmup_stable_decay" falls linearly to zero over the last half of the steps.
    `ema` is the decay of the weights' moving average, 0 for none. `keep` states stay, and `keep_models` of the models
    that were saved before the newest.
    """

    steps: int
    learning_rate: float = 1e-5
    warmup_steps: int = 0
    schedule: Literal["constant", "constant_with_warmup", "linear", "cosine", "warmup_stable_decay"] = (
        "constant_with_warmup"
    )
    accumulation: int = 1  # a step's batch is computed in this many parts by each process
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    gradient_checkpointing: bool = False
    tf32: bool = True
    channels_last: bool = False
    compile: bool = False
    ema: float = 0.999
    ema_on_cpu: bool = False
    clip_norm: float = 1.0
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    save_every: int = 1000
    keep: int = 1
    keep_models: int = 0
    seed: int = 0
    tensorboard: bool = False
    wandb: bool = False

    def __post_init__(self):
        least = {
            "steps": 1,
            "warmup_steps": 0,
            "accumulation": 1,
            "save_every": 1,
            "keep": 1,
            "keep_models": 0,
            "seed": 0,
        }
        for name, number in least.items():
            if getattr(self, name) < number:
                raise ValueError(f"{name}: is {getattr(self, name)}; allowed is {number} or more.")
        if self.schedule == "constant" and self.warmup_steps:
            raise ValueError(
                f"schedule: is constant, which has no warm-up, and warmup_steps is {self.warmup_steps}: take "
                "constant_with_warmup, or 0 warmup_steps."
            )
        if self.schedule == "warmup_stable_decay" and 2 * self.warmup_steps > self.steps:
            raise ValueError(
                f"warmup_steps: is {self.warmup_steps}; allowed is half of the {self.steps} steps at most, since "
                "warmup_stable_decay falls in the other half."
            )
        for name in ("learning_rate", "clip_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: is {getattr(self, name)}; allowed is more than 0.")
        if not self.weight_decay >= 0:
            raise ValueError(f"weight_decay: is {self.weight_decay}; allowed is 0 or more.")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas: is {list(self.betas)}; allowed are two numbers of 0 or more, below 1.")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema: is {self.ema}; allowed is 0 or more, below 1.")

    @property
    def trackers(self) -> tuple[str, ...]:
        return tuple(name for name in ("tensorboard", "wandb") if getattr(self, name))

    def rate(self, update: int) -> float:
        """The learning rate of an update."""
        return learning_rate_at(update, self.schedule, self.learning_rate, self.warmup_steps, self.steps)


@dataclass(frozen=True)
class ValidationSettings:
    """Which pictures are held out: a `share` of them, of which `count` at most are measured at each save.

    Raises ValueError for numbers out of range.
    """

    share: float = 0.02
    count: int = 16

    def __post_init__(self):
        if not 0 <= self.share < 1:
            raise ValueError(f"share: is {self.share}; allowed is 0 (none) or more, below 1.")
        if self.count < 1:
            raise ValueError(f"count: is {self.count}; allowed is 1 or more.")

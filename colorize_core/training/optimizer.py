"""What moves the weights: the optimizer, its learning rate, and the moving average that is saved as the model."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn
from transformers import get_scheduler

CPU_INTERVAL = 10  # steps between two updates of an average on the CPU, to which all weights are copied


def build_optimizer(
    name: str,
    parameters: list[nn.Parameter],
    learning_rate: float,
    betas: tuple[float, float],
    weight_decay: float,
) -> torch.optim.Optimizer:
    """AdamW ("adamw": fused where PyTorch can), or one that holds its moments in 8 bits ("adamw_8bit", bitsandbytes).

    Raises ValueError where bitsandbytes is missing.
    """
    options = {"lr": learning_rate, "betas": betas, "weight_decay": weight_decay}
    if name == "adamw_8bit":
        try:
            from bitsandbytes.optim import AdamW8bit
        except ImportError as error:
            raise ValueError(f"training.optimizer: adamw_8bit needs bitsandbytes ({error}): pip install it.") from error
        return AdamW8bit(parameters, **options)
    return torch.optim.AdamW(parameters, **options, fused=all(p.is_cuda for p in parameters))


def learning_rate_at(update: int, schedule: str, peak: float, warmup_steps: int, steps: int) -> float:
    """The rate of an update (0, 1, ...): a schedule of transformers.

    "warmup_stable_decay" falls linearly to zero over the last half of the steps.
    """
    nothing = torch.optim.SGD([nn.Parameter(torch.zeros(()))], lr=1.0)
    decay = {"num_decay_steps": steps // 2, "decay_type": "linear"}
    options = decay if schedule == "warmup_stable_decay" else None
    return peak * get_scheduler(schedule, nothing, warmup_steps, steps, options).lr_lambdas[0](update)


class MovingAverage:
    """The exponential moving average of parameters by name, on their device or on the CPU.

    It starts at the first updated ones, and forgets faster, (1 + n) / (10 + n), in its first updates n. On the CPU it
    follows every tenth update alone, with the tenth power of `decay`.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float, on_cpu: bool = False):
        self.parameters, self.decay = dict(parameters), decay
        self.interval = CPU_INTERVAL if on_cpu else 1
        self.values = {
            name: torch.empty_like(parameter, device="cpu" if on_cpu else None, requires_grad=False).copy_(parameter)
            for name, parameter in self.parameters.items()
        }

    @torch.no_grad()
    def update(self, updates: int) -> None:
        """Follows the parameters after an update; `updates` is how many there were before it."""
        if updates % self.interval:
            return
        decay = min(self.decay**self.interval, (1 + updates) / (10 + updates)) if updates else 0
        for name, value in self.values.items():
            value.lerp_(self.parameters[name].to(value.device), 1 - decay)

    @contextmanager
    @torch.no_grad()
    def in_use(self) -> Iterator[None]:
        """The averages in the parameters' place, for as long as the block lasts."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def settle(self) -> None:
        """Puts the averages into the parameters for good."""
        for name, parameter in self.parameters.items():
            parameter.copy_(self.values[name])

    def _exchange(self) -> None:
        for name, parameter in self.parameters.items():
            weight = parameter.clone()
            parameter.copy_(self.values[name])
            self.values[name].copy_(weight)

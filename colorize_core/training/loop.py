"""A resumable training loop: killed at any step, it goes on from the last save as if nothing had happened."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

WARMUP_STEPS = 100
SAVE_EVERY = 100
REPORT_SECONDS = 15


def seeded(seed: int, step: int) -> np.random.Generator:
    """Seeds torch for a step and returns numpy's generator for it: its draws depend on nothing but its number."""
    torch.manual_seed(seed * 1_000_003 + step)
    return np.random.default_rng((seed, step))


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Linear warm-up, flat, then linear to zero over the last half."""
    return peak * min(1.0, (step + 1) / WARMUP_STEPS) * min(1.0, 2 * (1 - step / steps))


def save_atomically(state: dict, path: Path) -> None:
    unfinished = path.with_suffix(".unfinished")
    torch.save(state, unfinished)
    os.replace(unfinished, path)


def train(
    name: str,
    module: nn.Module,
    loss_of: Callable[[np.random.Generator, int], torch.Tensor],
    *,
    steps: int,
    peak_rate: float,
    folder: Path,
    seed: int,
    ema: float = 0.998,
) -> nn.Module:
    """Trains the parameters of `module` that take gradients, and leaves their moving average in it.

    `loss_of(rng, step)` draws a batch and returns its loss (a scalar). The state lives in `folder/name.pt`; a run that
    finds one goes on from it. Raises FloatingPointError when the loss is not finite.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, betas=(0.9, 0.99), weight_decay=0.01)
    average = [p.detach().clone() for p in parameters]
    path = folder / f"{name}.pt"
    start = 0
    if path.exists():
        state = torch.load(path, weights_only=True, map_location=parameters[0].device)
        start = state["step"]
        module.load_state_dict(state["module"])
        optimizer.load_state_dict(state["optimizer"])
        average = state["average"]

    began = reported = time.monotonic()
    smoothed = None
    for step in range(start, steps):
        rng = seeded(seed, step)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, peak_rate)
        loss = loss_of(rng, step)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"{name}: the loss is {loss.item()} at step {step}")
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        decay = min(ema, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(average, [p.detach() for p in parameters], 1 - decay)
        smoothed = loss.item() if smoothed is None else 0.98 * smoothed + 0.02 * loss.item()

        done = step + 1
        if done % SAVE_EVERY == 0 or done == steps:
            state = {"step": done, "module": module.state_dict(), "optimizer": optimizer.state_dict()}
            save_atomically(state | {"average": average}, path)
        now = time.monotonic()
        if now - reported > REPORT_SECONDS or done == steps:
            reported = now
            speed = (done - start) / (now - began)
            left = (steps - done) / speed / 60
            print(f"{name}: step {done}/{steps}, loss {smoothed:.4f}, {left:.0f} min left", flush=True)  # noqa: T201

    with torch.no_grad():
        for parameter, value in zip(parameters, average, strict=True):
            parameter.copy_(value)
    return module.eval()

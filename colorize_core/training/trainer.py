"""The training loop: any number of processes through accelerate, and killed at any moment it goes on where it was."""

import json
import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import find_batch_size, send_to_device, tqdm
from torch import nn

from .optimizer import MovingAverage, build_optimizer
from .settings import TrainingSettings
from .state import Progress, Trained, resume, save_state

BAD_STEPS = 10  # in a row, whose loss is not finite: then a run ends
RECORD = "losses.csv"

logger = logging.getLogger(__name__)


def train(
    accelerator: Accelerator,
    model: nn.Module,
    batches: Callable[[int], Iterable[Any]],
    loss_of: Callable[[nn.Module, Any], torch.Tensor],
    settings: TrainingSettings,
    folder: Path,
    on_save: Callable[[nn.Module, int], Mapping[str, float] | None] | None = None,
    fixed: Mapping[str, Any] | None = None,
    saves: bool = True,
) -> nn.Module:
    """Trains the parameters of `model` that take gradients; gives it back to be used, their moving average in it.

    `batches(step)` gives, from that step on and without end, this process's parts of the batches, `accumulation` parts
    for each step; tensors in them are moved to the device. `loss_of(model, part)` is the mean loss of a part's rows (a
    scalar) by the `model` that it is given, which shares its gradients with the other processes. torch is seeded anew
    for every part. `on_save(model, steps)` is called by the main process after each save, with the average in the
    model; what it returns is logged. `fixed` is what must not change in a run, by name, in values that JSON has.
    Without `saves` no state is saved, and `on_save` is not called.

    A step whose loss is not finite is left out. On SIGTERM the state is saved, and SystemExit raised.

    `folder` (with several machines: one that all see) keeps the last states, from the newest of which a run that finds
    it goes on, the record losses.csv, and TensorBoard's if asked for. Raises ValueError when the state there is of
    another `fixed`, seed, optimizer or model, FloatingPointError when ten losses in a row are not finite.
    """
    model = model.to(accelerator.device).train()
    weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    adam = settings.learning_rate, settings.betas, settings.weight_decay
    optimizer = build_optimizer(settings.optimizer, list(weights.values()), *adam)
    average = MovingAverage(weights, settings.ema, settings.ema_on_cpu) if settings.ema else None
    trained = Trained(weights, optimizer, average, accelerator.scaler)
    values = json.loads(json.dumps(asdict(settings) | dict(fixed or {})))
    progress = resume(accelerator, trained, values, tuple(fixed or ()), folder)
    if progress.steps < settings.steps:
        shared, stepper = accelerator.prepare(torch.compile(model) if settings.compile else model, optimizer)
        start_record(accelerator, settings, values, folder, progress.steps)
        parts = iter(batches(progress.steps))
        steps = range(progress.steps, settings.steps)
        bar = tqdm(steps, folder.name, settings.steps, initial=progress.steps, mininterval=1)
        with stop_signal() as stop:
            for step in bar:
                begin = time.perf_counter()
                loss, rows = accumulate_gradients(accelerator, shared, parts, loss_of, settings, step)
                loss, stopping = share(accelerator, loss, stop.is_set())
                rate, norm = update_weights(accelerator, stepper, trained, settings, progress, loss)
                bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
                numbers = {"loss": loss, "learning_rate": rate, "gradient_norm": norm}
                log_step(accelerator, folder, step, numbers, rows / (time.perf_counter() - begin))
                due = stopping or progress.steps == settings.steps or progress.steps % settings.save_every == 0
                if saves and due:
                    save(accelerator, model, trained, progress, values, settings, folder, on_save)
                if stopping:
                    raise SystemExit(f"{folder.name}: stopped and saved at step {progress.steps}.")
        for tracker in accelerator.trackers:
            tracker.finish()
        model = accelerator.unwrap_model(shared, keep_fp32_wrapper=False, keep_torch_compile=False)
    if average:
        average.settle()
    return model.eval()


def share(accelerator: Accelerator, loss: torch.Tensor, stop: bool) -> tuple[float, bool]:
    """The mean loss of all processes, and whether one of them is to stop."""
    both = torch.stack([loss, loss.new_tensor(stop)])
    mean, stopping = accelerator.reduce(both, "mean").tolist()
    return mean, stopping > 0


def accumulate_gradients(
    accelerator: Accelerator,
    shared: nn.Module,
    parts: Iterator,
    loss_of: Callable,
    settings: TrainingSettings,
    step: int,
) -> tuple[torch.Tensor, int]:
    """The gradients of a step's parts, summed up; gives this process's mean loss, and the rows of all processes."""
    mean, rows = torch.zeros((), device=accelerator.device), 0
    for index in range(settings.accumulation):
        part = send_to_device(next(parts), accelerator.device, non_blocking=True)
        seed_torch(settings.seed, step, index * accelerator.num_processes + accelerator.process_index)
        is_last = index == settings.accumulation - 1
        with nullcontext() if is_last else accelerator.no_sync(shared):
            with accelerator.autocast():
                loss = loss_of(shared, part) / settings.accumulation
            accelerator.backward(loss)
        mean += loss.detach()
        rows += find_batch_size(part) * accelerator.num_processes
    return mean, rows


def update_weights(
    accelerator: Accelerator,
    stepper: torch.optim.Optimizer,
    trained: Trained,
    settings: TrainingSettings,
    progress: Progress,
    loss: float,
) -> tuple[float, float]:
    """One step of the optimizer, left out where the loss or the gradients are not finite; gives its rate and norm.

    Raises FloatingPointError when that was so ten times in a row.
    """
    rate = settings.rate(progress.updates)
    for group in stepper.param_groups:
        group["lr"] = rate
    norm = float(accelerator.clip_grad_norm_(trained.weights.values(), settings.clip_norm))
    # Gradients that overflow in fp16 are usual: its scaler leaves the step out and goes on with a smaller scale.
    finite = math.isfinite(loss) and (math.isfinite(norm) or trained.scaler is not None)
    if finite or trained.scaler:
        stepper.step()
    stepper.zero_grad()
    if finite and not stepper.step_was_skipped:
        if trained.average:
            trained.average.update(progress.updates)
        progress.updates += 1
    progress.bad = 0 if finite else progress.bad + 1
    if not finite:
        logger.warning("step %d is left out: its loss is %g, the norm of its gradients %g", progress.steps, loss, norm)
    if progress.bad == BAD_STEPS:
        raise FloatingPointError(
            f"The loss or its gradients were not finite in {BAD_STEPS} steps in a row, {progress.steps} the last (loss "
            f"{loss}). Take a lower learning_rate, or bf16 for fp16, and look at the pictures."
        )
    progress.steps += 1
    return rate, norm


def save(
    accelerator: Accelerator,
    model: nn.Module,
    trained: Trained,
    progress: Progress,
    values: Mapping[str, Any],
    settings: TrainingSettings,
    folder: Path,
    on_save: Callable | None,
) -> None:
    """By the main process: the state, and `on_save` with the average in the model."""
    if accelerator.is_main_process:
        save_state(folder, trained, progress, values, settings.keep)
        if on_save:
            with trained.average.in_use() if trained.average else nullcontext():
                found = on_save(model.eval(), progress.steps)
            model.train()
            if found:
                accelerator.log(dict(found), progress.steps)
    accelerator.wait_for_everyone()


@contextmanager
def stop_signal() -> Iterator[threading.Event]:
    """An event that SIGTERM sets, as long as the block lasts."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # which alone may be signaled
        yield stop
        return
    before = signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)


def start_record(
    accelerator: Accelerator, settings: TrainingSettings, values: Mapping, folder: Path, steps: int
) -> None:
    """losses.csv up to these steps, and the trackers: a killed run may have gone further than its last save."""
    if settings.trackers:
        options = {"tensorboard": {"purge_step": steps}} if settings.tensorboard else {}
        config = {name: value for name, value in values.items() if isinstance(value, (int, float, str, bool))}
        accelerator.init_trackers("tensorboard" if settings.tensorboard else "colorize-diffusion", config, options)
    if not accelerator.is_main_process:
        return
    with (folder / RECORD).open("a+") as file:
        file.seek(0)
        if not file.readline():
            file.write("step,loss,learning_rate,gradient_norm\n")
        for _ in range(steps):
            file.readline()
        file.truncate(file.tell())


def log_step(
    accelerator: Accelerator, folder: Path, step: int, values: Mapping[str, float], rows_per_second: float
) -> None:
    """A row of losses.csv; and in the trackers also how fast it goes, and the most memory that the device has held."""
    if not accelerator.is_main_process:
        return
    with (folder / RECORD).open("a") as file:
        file.write(f"{step},{','.join(map(repr, values.values()))}\n")
    extra = {"images_per_second": rows_per_second}
    if accelerator.device.type != "cpu":
        extra["memory_gib"] = torch.accelerator.max_memory_allocated() / 2**30
    accelerator.log(dict(values) | extra, step)


def seed_torch(*numbers: int) -> None:
    torch.manual_seed(int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]))

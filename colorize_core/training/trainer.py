"""The training loop: any number of processes through accelerate, and killed at any moment it goes on where it was."""

import json
import math
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device, tqdm
from torch import nn
from torch.optim.swa_utils import AveragedModel
from transformers import get_scheduler

MAY_CHANGE = ("steps", "save_every", "tensorboard")  # a run can go on with other values of these


@dataclass(frozen=True)
class TrainingSettings:
    """How a model is trained. Raises ValueError for numbers out of range.

    `schedule` is one of transformers'; "warmup_stable_decay" falls linearly to zero over the last half of the steps.
    `ema` is the decay of the weights' moving average.
    """

    steps: int
    learning_rate: float = 1e-5
    warmup_steps: int = 0
    schedule: Literal["constant", "constant_with_warmup", "linear", "cosine", "warmup_stable_decay"] = (
        "constant_with_warmup"
    )
    accumulation: int = 1  # a step's batch is computed in this many parts by each process
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    ema: float = 0.999
    clip_norm: float = 1.0
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    save_every: int = 1000
    seed: int = 0
    tensorboard: bool = False

    def __post_init__(self):
        for name, least in (("steps", 1), ("warmup_steps", 0), ("accumulation", 1), ("save_every", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: is {getattr(self, name)}; allowed is {least} or more.")
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


def train(
    model: nn.Module,
    batches: Callable[[int], Iterable[Any]],
    loss_of: Callable[[nn.Module, Any], torch.Tensor],
    settings: TrainingSettings,
    folder: Path,
    on_save: Callable[[nn.Module, int], None] | None = None,
    about: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Trains the parameters of `model` that take gradients; gives it back to be used, their moving average in it.

    `batches(step)` gives, from that step on and without end, this process's parts of the batches, `accumulation` parts
    for each step; tensors in them are moved to the device. `loss_of(model, part)` is the mean loss of a part's rows (a
    scalar) by the `model` that it is given, which shares its gradients with the other processes. torch is seeded anew
    for every part. `on_save(average, steps)` is called by the main process after each save.
    `about` is what else must not change in a run, by name, in values that JSON has.

    `folder` (with several machines: one that all see) keeps the last state, from which a run that finds it goes on, the
    record losses.csv, and TensorBoard's if asked for. Raises ValueError when the state there is of other settings, of
    another `about` or of another model, FloatingPointError when a loss is not finite.
    """
    accelerator = Accelerator(
        mixed_precision=settings.mixed_precision,
        gradient_accumulation_steps=settings.accumulation,
        log_with="tensorboard" if settings.tensorboard else None,
        project_dir=folder,
    )
    parameters = [p for p in model.to(accelerator.device).train().parameters() if p.requires_grad]
    average = AveragedModel(model, multi_avg_fn=warmed_up_average(settings.ema)).eval()
    optimizer = torch.optim.AdamW(
        parameters, settings.learning_rate, betas=settings.betas, weight_decay=settings.weight_decay
    )
    scheduler = scheduled(optimizer, settings)
    shared, optimizer = accelerator.prepare(model, optimizer)
    accelerator.register_for_checkpointing(average, scheduler)
    # The state holds the model itself, without what shares its gradients: any number of processes can go on from it.
    accelerator.register_save_state_pre_hook(lambda _, weights, __: weights.__setitem__(0, model.state_dict()))
    accelerator.register_load_state_pre_hook(lambda models, _: models.__setitem__(0, model))

    told = asdict(settings) | dict(about or {})
    start = resume(accelerator, told, folder)
    if start >= settings.steps:
        return averaged(accelerator, shared, average)
    accelerator.init_trackers("tensorboard", init_kwargs={"tensorboard": {"purge_step": start}})
    record = folder / "losses.csv"
    if accelerator.is_main_process:
        cut(record, start)
    parts = iter(batches(start))
    progress = tqdm(range(start, settings.steps), folder.name, settings.steps, initial=start, mininterval=1)
    for step in progress:
        loss = torch.zeros((), device=accelerator.device)
        for index in range(settings.accumulation):
            part = send_to_device(next(parts), accelerator.device)
            seed_torch(settings.seed, step, index * accelerator.num_processes + accelerator.process_index)
            with accelerator.accumulate(shared):
                with accelerator.autocast():
                    part_loss = loss_of(shared, part)
                accelerator.backward(part_loss)
            loss += part_loss.detach() / settings.accumulation
        loss = accelerator.reduce(loss, "mean").item()
        if not math.isfinite(loss):
            raise FloatingPointError(f"{folder.name}: the loss is {loss} at step {step}.")
        accelerator.clip_grad_norm_(parameters, settings.clip_norm)
        rate = scheduler.get_last_lr()[0]
        optimizer.step()
        optimizer.zero_grad()
        if not optimizer.step_was_skipped:  # as fp16 does where gradients overflow, to go on with a smaller scale
            scheduler.step()
            average.update_parameters(model)

        progress.set_postfix(loss=f"{loss:.4f}", refresh=False)
        accelerator.log({"loss": loss, "learning_rate": rate}, step)
        if accelerator.is_main_process:
            with record.open("a") as file:
                file.write(f"{step},{loss!r},{rate!r}\n")
        done = step + 1
        if done % settings.save_every == 0 or done == settings.steps:
            save(accelerator, told, folder, done)
            if on_save and accelerator.is_main_process:
                on_save(average.module, done)
    for tracker in accelerator.trackers:
        tracker.finish()
    return averaged(accelerator, shared, average)


def warmed_up_average(decay: float) -> Callable[[list[torch.Tensor], list[torch.Tensor], torch.Tensor], None]:
    """For AveragedModel: a moving average that forgets faster, (1 + n) / (10 + n), in its first updates n."""

    @torch.no_grad()
    def update(averages: list[torch.Tensor], values: list[torch.Tensor], updates: torch.Tensor) -> None:
        torch._foreach_lerp_(averages, values, 1 - min(decay, (1 + int(updates)) / (10 + int(updates))))

    return update


def scheduled(optimizer: torch.optim.Optimizer, settings: TrainingSettings) -> torch.optim.lr_scheduler.LRScheduler:
    decay = {"num_decay_steps": settings.steps // 2, "decay_type": "linear"}
    options = decay if settings.schedule == "warmup_stable_decay" else None
    return get_scheduler(settings.schedule, optimizer, settings.warmup_steps, settings.steps, options)


def seed_torch(*place: int) -> None:
    torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0]))


def averaged(accelerator: Accelerator, shared: nn.Module, average: AveragedModel) -> nn.Module:
    model = accelerator.unwrap_model(shared, keep_fp32_wrapper=False)
    model.load_state_dict(average.module.state_dict())
    return model.eval()


def cut(record: Path, steps: int) -> None:
    """Leaves the heading and the first `steps` rows: a killed run may have gone further than its last save."""
    with record.open("a+") as file:
        file.seek(0)
        if not file.readline():
            file.write("step,loss,learning_rate\n")
        for _ in range(steps):
            file.readline()
        file.truncate(file.tell())


def save(accelerator: Accelerator, told: dict[str, Any], folder: Path, steps: int) -> None:
    """Makes the state of `folder` the present one: complete under its name, or not there."""
    unfinished = folder / "unfinished"
    if accelerator.is_main_process:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        (unfinished / "settings.json").write_text(json.dumps(told, indent=1))
    accelerator.wait_for_everyone()
    accelerator.save_state(unfinished)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        old = list(folder.glob("step-*"))
        unfinished.rename(folder / f"step-{steps:08}")
        for state in old:
            shutil.rmtree(state)


def resume(accelerator: Accelerator, told: dict[str, Any], folder: Path) -> int:
    """Loads the newest state of `folder`, if there is one; gives the number of steps that were made before."""
    folder.mkdir(parents=True, exist_ok=True)
    state = max(folder.glob("step-*"), default=None)
    if state is None:
        return 0
    wanted, held = json.loads(json.dumps(told)), json.loads((state / "settings.json").read_text())
    for name in sorted((wanted.keys() & held.keys()) - set(MAY_CHANGE)):
        if held[name] != wanted[name]:
            raise ValueError(
                f"{state} was trained with {name} {held[name]}, not {wanted[name]}: set it back or take another folder."
            )
    try:
        accelerator.load_state(state)
    except torch.OutOfMemoryError:  # a RuntimeError too, and nothing that another folder would mend
        raise
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{state} is of another model: take another folder. {error}") from error
    accelerator.print(f"{folder.name}: going on from {state}")
    return int(state.name.removeprefix("step-"))

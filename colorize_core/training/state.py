"""The saved states of a training in its folder: whole or not there, from which it goes on; and who may write there."""

import json
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ..files import atomic_write
from .optimizer import MovingAverage
from .settings import TrainingSettings

STATE_NAME = re.compile(r"step-\d{8}")
STAYS = ("seed", "optimizer")  # a run goes on with other values of all the other settings
SETTINGS_FILE = "settings.json"  # a folder without it is none of ours
UNFINISHED = "unfinished-state"
FAILED_WRITE = (OSError, RuntimeError, SafetensorError)  # what writers raise on a full disk


@dataclass
class Progress:
    """How far a training is: `steps` made, of which `updates` moved the weights and the last `bad` ones did not."""

    steps: int = 0
    updates: int = 0
    bad: int = 0


@dataclass(frozen=True)
class Trained:
    """What a state holds: the weights that are trained, their optimizer and average (None: none), fp16's scaler."""

    weights: dict[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    average: MovingAverage | None
    scaler: torch.amp.GradScaler | None = None


@contextmanager
def claimed(accelerator: Accelerator, folder: Path) -> Iterator[None]:
    """`folder`, made if need be, is this training's alone for as long as the block lasts.

    Raises ValueError where it cannot be written, another training writes there, or the processes see different ones.
    """
    lock = FileLock(folder / ".lock", timeout=0)
    error = None
    token = folder / f".shared-{secrets.token_hex(8)}"
    if accelerator.is_main_process:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
            token.touch()
        except Timeout:
            error = f"output: another training is writing to {folder}: wait until it ends, or name another folder."
        except OSError as problem:
            error = f"output: {folder} cannot be written to ({problem.strerror}): name another folder."
    error, token = broadcast_object_list([error, str(token)])
    try:
        if error:
            raise ValueError(error)
        is_shared = all(gather_object([Path(token).exists()]))
        if accelerator.is_main_process:
            Path(token).unlink()
        if not is_shared:
            raise ValueError(f"output: not all processes see the same {folder}: name a folder that all machines share.")
        yield
    finally:
        if accelerator.is_main_process:
            lock.release()


def saved_states(folder: Path) -> list[Path]:
    """The states of `folder`, oldest first; what a user has copied or renamed there is none."""
    states = (path for path in folder.glob("step-*") if STATE_NAME.fullmatch(path.name))
    return sorted(path for path in states if (path / SETTINGS_FILE).is_file())


def save_state(folder: Path, trained: Trained, progress: Progress, settings: Mapping[str, Any], keep: int) -> None:
    """Makes a state of the present, complete under its name or not there; of those before it `keep` - 1 stay.

    Raises ValueError where it cannot be written, and leaves nothing then.
    """
    unfinished = folder / UNFINISHED
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir()
        content = {"progress": vars(progress), "settings": dict(settings)}
        (unfinished / SETTINGS_FILE).write_text(json.dumps(content, indent=1))
        _save_tensors({name: weight.detach() for name, weight in trained.weights.items()}, unfinished / "weights")
        if trained.average:
            _save_tensors(trained.average.values, unfinished / "average")
        rest = {"optimizer": trained.optimizer.state_dict()}
        if trained.scaler:
            rest["scaler"] = trained.scaler.state_dict()
        torch.save(rest, unfinished / "optimizer.pt")
        state = folder / f"step-{progress.steps:08}"
        if state in saved_states(folder):  # of a run that went on from an older state
            shutil.rmtree(state)
        unfinished.rename(state)
    except FAILED_WRITE as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise ValueError(
            f"{folder}: the state of step {progress.steps} could not be saved ({error}). Make room, or let it be "
            "written there, and give the same command again: it goes on from the last state."
        ) from error
    for old in saved_states(folder)[:-keep]:
        shutil.rmtree(old)


def _save_tensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    with atomic_write(path.with_suffix(".safetensors")) as file:
        save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, file)


def load_state(state: Path, trained: Trained) -> Progress:
    """Loads a state into what is trained. An average that the state lacks begins at its weights.

    Raises ValueError for a state of other weights or another optimizer.
    """
    try:
        _load_tensors(state / "weights.safetensors", trained.weights)
        rest = torch.load(state / "optimizer.pt", map_location="cpu", weights_only=True)
        groups = [dict(group) for group in trained.optimizer.param_groups]
        trained.optimizer.load_state_dict(rest["optimizer"])
        for group, wanted in zip(trained.optimizer.param_groups, groups, strict=True):
            group |= {name: value for name, value in wanted.items() if name != "params"}  # of the present settings
        if trained.scaler and "scaler" in rest:
            trained.scaler.load_state_dict(rest["scaler"])
        if trained.average:
            average = state / "average.safetensors"
            _load_tensors(average if average.exists() else state / "weights.safetensors", trained.average.values)
    except torch.OutOfMemoryError:  # a RuntimeError too, and nothing that another folder would mend
        raise
    except (KeyError, RuntimeError, ValueError) as error:
        raise ValueError(f"{state} is of another model: take another folder. {error}") from error
    return Progress(**json.loads((state / SETTINGS_FILE).read_text())["progress"])


@torch.no_grad()
def _load_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    saved = load_file(path)
    if different := saved.keys() ^ tensors.keys():
        raise ValueError(f"One of the two has no {min(different)}.")
    for name, tensor in tensors.items():
        if tensor.shape != saved[name].shape:
            raise ValueError(f"{name} has the size {list(saved[name].shape)}, not {list(tensor.shape)}.")
        tensor.copy_(saved[name])


def saved_settings(state: Path) -> dict[str, Any]:
    """The settings that a state was saved with, as JSON has them."""
    return json.loads((state / SETTINGS_FILE).read_text())["settings"]


def resume(
    accelerator: Accelerator, trained: Trained, values: dict[str, Any], fixed: tuple[str, ...], folder: Path
) -> Progress:
    """Loads the newest state of `folder`, if there is one; gives how far it was. Raises ValueError as `train` does."""
    folder.mkdir(parents=True, exist_ok=True)
    states = saved_states(folder)
    if not states:
        return Progress()
    state, held = states[-1], saved_settings(states[-1])
    for name in (*STAYS, *fixed):
        if name in held and held[name] != values[name]:
            raise ValueError(
                f"{state} was trained with {name} {held[name]}, not {values[name]}: set it back or take another folder."
            )
    progress = load_state(state, trained)
    accelerator.print(f"{folder.name}: going on from {state}")
    names = {one.name for one in fields(TrainingSettings)}
    before, now = (TrainingSettings(**{k: v for k, v in known.items() if k in names}) for known in (held, values))
    old, new = before.rate(progress.updates), now.rate(progress.updates)
    if abs(new - old) > 0.01 * old and before.learning_rate == now.learning_rate:
        accelerator.print(
            f"{folder.name}: the learning rate jumps from {old:g} to {new:g}, as other steps or schedule have it"
        )
    return progress

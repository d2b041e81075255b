"""The training loop on a tiny network; run as a script, it is the process that the tests kill or split in two."""

import argparse
import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import PartialState, debug_launcher
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.state import AcceleratorState, GradientState
from torch import nn
from torch.utils.data import DataLoader

from colorize_core.training import trainer
from colorize_core.training.trainer import TrainingSettings

ROOT = Path(__file__).parents[2]
PATIENCE = 300  # seconds


def network(width: int = 8, dropout: float = 0.2) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Dropout(dropout), nn.Linear(width, 1))


def settings(**changes) -> TrainingSettings:
    values = {"steps": 12, "learning_rate": 0.02, "warmup_steps": 4, "schedule": "cosine", "save_every": 3, "ema": 0.9}
    return TrainingSettings(**values | changes)


def batches(step: int, accumulation: int = 1):
    """This process's parts of batches of 8 rows and their sums."""
    state = PartialState()
    for now in itertools.count(step):
        rows = torch.from_numpy(np.random.default_rng((1, now)).standard_normal((8, 3))).float()
        yield from rows.chunk(accumulation * state.num_processes)[state.process_index :: state.num_processes]


def loss_of(model: nn.Module, rows: torch.Tensor) -> torch.Tensor:
    return (model(rows) - rows.sum(1, keepdim=True)).square().mean()


def fit(folder: Path, model: nn.Module | None = None, loss_of=loss_of, on_save=None, **changes) -> nn.Module:
    chosen = settings(**changes)
    parts = lambda step: batches(step, chosen.accumulation)  # noqa: E731
    return trainer.train(model or network(), parts, loss_of, chosen, folder, on_save)


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.fixture(autouse=True)
def fresh_accelerate():
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


# --- the script ---------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("what", choices=("stall-in-step", "stall-in-save", "share"))
    arguments = parser.parse_args()
    folder = arguments.folder
    calls = itertools.count()
    if arguments.what == "stall-in-step":
        fit(folder, loss_of=lambda *inputs: stall(folder) if next(calls) == 7 else loss_of(*inputs))
    elif arguments.what == "stall-in-save":
        whole = torch.save
        torch.save = lambda *inputs: stall(folder) if (folder / "step-00000006").exists() else whole(*inputs)
        fit(folder)
    else:
        debug_launcher(share, (folder,), num_processes=2)


def stall(folder: Path) -> None:
    (folder / "stalled").touch()
    time.sleep(PATIENCE)


def share(folder: Path) -> None:
    for accumulation in (1, 2):
        fit(folder / str(accumulation), network(dropout=0), steps=3, accumulation=accumulation)


def script(*arguments: str | Path) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true"}
    return subprocess.Popen([sys.executable, __file__, *arguments], env=environment)


def kill_when_stalled(process: subprocess.Popen, folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not (folder / "stalled").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.wait()
    (folder / "stalled").unlink()


# --- what must hold -----------------------------------------------------------------------------------------------


def test_killed_in_a_step_or_in_a_save_a_run_goes_on_as_if_never_interrupted(tmp_path, capsys):
    whole, stalled = tmp_path / "whole", [tmp_path / "stall-in-step", tmp_path / "stall-in-save"]
    processes = [script(folder, folder.name) for folder in stalled]
    expected = fit(whole)
    for process, folder in zip(processes, stalled, strict=True):
        kill_when_stalled(process, folder)
    assert (tmp_path / "stall-in-save" / "unfinished" / "model.safetensors").exists()

    for folder, rows in zip(stalled, (7, 9), strict=True):
        assert [path.name for path in folder.glob("step-*")] == ["step-00000006"]
        assert len((folder / "losses.csv").read_text().splitlines()) == 1 + rows
        resumed = fit(folder)
        assert f"going on from {folder / 'step-00000006'}" in capsys.readouterr().out
        assert (folder / "losses.csv").read_text() == (whole / "losses.csv").read_text()
        assert same(resumed, expected)
        assert sorted(path.name for path in folder.iterdir()) == ["losses.csv", "step-00000012"]
        for name in ("optimizer.bin", "model.safetensors"):
            assert (folder / "step-00000012" / name).read_bytes() == (whole / "step-00000012" / name).read_bytes()


@pytest.mark.skipif(os.name == "nt", reason="accelerate's launcher of processes on the CPU forks")
def test_two_processes_train_the_same_weights_as_one(tmp_path):
    assert script(tmp_path, "share").wait(PATIENCE) == 0
    for accumulation in (1, 2):
        folder = tmp_path / str(accumulation)
        assert (folder / "step-00000003" / "random_states_1.pkl").exists()  # there was a second process
        together = fit(folder, network(dropout=0), steps=3, accumulation=accumulation)  # what they left
        alone = fit(tmp_path / "alone" / str(accumulation), network(dropout=0), steps=3, accumulation=accumulation)
        for two, one in zip(together.parameters(), alone.parameters(), strict=True):
            assert (two - one).abs().max() < 1e-5
        assert not same(together, network())


def test_parts_of_a_batch_train_the_same_weights_as_the_whole(tmp_path):
    whole, parts = (fit(tmp_path / str(n), network(dropout=0), accumulation=n) for n in (1, 4))
    for one, two in zip(whole.parameters(), parts.parameters(), strict=True):
        assert (one - two).abs().max() < 1e-5
    assert not same(parts, network())


def test_a_finished_run_gives_its_averaged_weights_without_a_step(tmp_path):
    expected = fit(tmp_path)
    record = (tmp_path / "losses.csv").stat().st_mtime_ns
    again = fit(tmp_path, network(), loss_of=None)
    assert same(again, expected) and not again.training
    assert (tmp_path / "losses.csv").stat().st_mtime_ns == record


def test_a_finished_run_goes_on_when_given_more_steps(tmp_path):
    constant = {"schedule": "constant", "warmup_steps": 0}
    fit(tmp_path, **constant, steps=7)
    assert same(fit(tmp_path, **constant), fit(tmp_path / "at once", **constant))


def test_what_a_hook_draws_changes_nothing(tmp_path):
    drawn = fit(tmp_path / "drawn", on_save=lambda model, steps: torch.rand(steps))
    assert same(drawn, fit(tmp_path / "plain"))


def test_it_learns(tmp_path):
    line = nn.Linear(3, 1, bias=False)
    trained = fit(tmp_path, line, steps=100, learning_rate=0.1, save_every=100, ema=0.8)
    assert (trained.weight - 1).abs().max() < 0.01


def test_the_average_follows_the_weights_closely_at_first(tmp_path):
    weights, averages = [], []

    def watched(model, rows):
        weights.append(model[0].weight.detach().clone())
        return loss_of(model, rows)

    trained = fit(
        tmp_path,
        loss_of=watched,
        on_save=lambda model, steps: averages.append((steps, model.training, model[0].weight.clone())),
        save_every=1,
        ema=0.3,
    )
    expected = weights[1]
    for updates, (weight, (steps, training, average)) in enumerate(zip(weights[1:], averages[:-1], strict=True)):
        decay = min(0.3, (1 + updates) / (10 + updates))
        expected = expected + (1 - decay) * (weight - expected)
        assert steps == updates + 1 and not training
        assert torch.allclose(average, expected)
    assert torch.equal(trained[0].weight, averages[-1][-1]) and not torch.equal(trained[0].weight, weights[-1])


def test_weight_decay_shrinks_weights_that_nothing_else_moves(tmp_path):
    before, nothing = network()[0].weight, lambda model, rows: 0 * loss_of(model, rows)
    constant = {"schedule": "constant", "warmup_steps": 0, "learning_rate": 0.1, "ema": 0.0}
    for decay in (0.0, 0.3):
        trained = fit(tmp_path / str(decay), loss_of=nothing, weight_decay=decay, **constant)
        torch.testing.assert_close(trained[0].weight, before * (1 - 0.1 * decay) ** 12)


def test_frozen_weights_stay(tmp_path):
    model = network()
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    assert torch.equal(fit(tmp_path, model)[0].weight, before)


def test_warm_up_a_plateau_and_a_linear_fall_over_the_last_half(tmp_path):
    fit(tmp_path, schedule="warmup_stable_decay", learning_rate=1.0)
    rates = [float(line.split(",")[2]) for line in (tmp_path / "losses.csv").read_text().splitlines()[1:]]
    assert rates == pytest.approx([0, 1 / 4, 2 / 4, 3 / 4, 1, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])


def test_a_loader_with_tensors_in_dicts_may_give_the_batches(tmp_path):
    rows = [{"rows": torch.full((3,), float(i))} for i in range(100)]
    trainer.train(
        network(),
        lambda step: DataLoader(rows[step * 4 :], batch_size=4),
        lambda model, part: loss_of(model, part["rows"]),
        settings(),
        tmp_path,
    )


def test_mixed_precision_computes_in_it_and_leaves_the_model_as_it_was(tmp_path):
    kinds = set()

    def watched(model, rows):
        kinds.add((rows @ rows.T).dtype)
        return loss_of(model, rows)

    trained = fit(tmp_path, loss_of=watched, mixed_precision="bf16")
    assert kinds == {torch.bfloat16} and trained(torch.ones(1, 3)).dtype == torch.float32
    assert not torch.is_autocast_enabled("cpu") and type(trained).forward is trained.forward.__func__


def test_a_step_that_fp16_skips_counts_neither_for_the_schedule_nor_for_the_average(tmp_path, monkeypatch):
    whole, skipped, weights = AcceleratedOptimizer.step, itertools.count(), []

    def step(self, closure=None):
        self._is_overflow = next(skipped) == 3
        if not self._is_overflow:
            whole(self, closure)

    monkeypatch.setattr(AcceleratedOptimizer, "step", step)
    fit(
        tmp_path,
        steps=5,
        schedule="linear",
        save_every=1,
        on_save=lambda model, _: weights.append(model[0].weight.clone()),
    )
    rates = [float(line.split(",")[2]) for line in (tmp_path / "losses.csv").read_text().splitlines()[1:]]
    assert rates == pytest.approx([0, 0.005, 0.01, 0.015, 0.015])
    assert torch.equal(weights[2], weights[3]) and not torch.equal(weights[3], weights[4])


def test_the_curves_are_written_for_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fit(tmp_path, steps=6, tensorboard=True)
    fit(tmp_path, tensorboard=True)
    curves = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    losses = [float(line.split(",")[1]) for line in (tmp_path / "losses.csv").read_text().splitlines()[1:]]
    assert [event.value for event in curves.Scalars("loss")] == pytest.approx(losses)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    calls = itertools.count()
    with pytest.raises(FloatingPointError, match="line: the loss is nan at step 5"):
        fit(tmp_path / "line", loss_of=lambda *inputs: loss_of(*inputs) * (torch.nan if next(calls) == 5 else 1))
    assert [path.name for path in (tmp_path / "line").glob("step-*")] == ["step-00000003"]


def test_a_state_of_other_settings_is_refused_by_name(tmp_path):
    fit(tmp_path)
    with pytest.raises(ValueError, match=r"step-00000012 was trained with learning_rate 0.02, not 0.5: set it back"):
        fit(tmp_path, learning_rate=0.5)


def test_a_state_of_which_something_else_was_told_is_refused_by_name(tmp_path):
    def run(**told):
        return trainer.train(network(), batches, loss_of, settings(), tmp_path, about=told)

    first = run(rate=0.5, sizes=(64, 128))
    assert same(run(rate=0.5, sizes=(64, 128)), first)
    with pytest.raises(ValueError, match=r"step-00000012 was trained with rate 0.5, not 0.25: set it back"):
        run(rate=0.25, sizes=(64, 128))


def test_a_state_of_another_model_is_refused(tmp_path):
    fit(tmp_path)
    with pytest.raises(ValueError, match=r"step-00000012 is of another model: take another folder(?s:.)*0.weight"):
        fit(tmp_path, network(width=9))


def test_a_state_in_which_other_weights_were_frozen_is_refused(tmp_path):
    fit(tmp_path)
    frozen = network()
    frozen[0].requires_grad_(False)
    with pytest.raises(ValueError, match=r"step-00000012 is of another model: take another folder(?s:.)*size"):
        fit(tmp_path, frozen)


def test_a_state_for_which_memory_runs_out_is_not_called_that_of_another_model(tmp_path, monkeypatch):
    fit(tmp_path, steps=6)

    def out_of_memory(*_, **__):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(trainer.Accelerator, "load_state", out_of_memory)
    with pytest.raises(torch.OutOfMemoryError):
        fit(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"accumulation": 0},
        {"save_every": 0},
        {"seed": -1},
        {"ema": 1.0},
        {"learning_rate": 0},
        {"clip_norm": 0.0},
        {"clip_norm": -1.0},
        {"weight_decay": -0.1},
        {"betas": (0.9, 1.0)},
        {"schedule": "constant", "warmup_steps": 1},
        {"warmup_steps": 7, "schedule": "warmup_stable_decay"},
    ],
)
def test_settings_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=f"^{next(iter(wrong))}: is "):
        settings(**wrong)


if __name__ == "__main__":
    main()

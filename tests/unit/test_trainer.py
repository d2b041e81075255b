"""The training loop on a tiny network; run as a script, it is the process that the tests kill or split in two."""

import argparse
import itertools
import os
import signal
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

from colorize_core.training import state, trainer
from colorize_core.training.optimizer import MovingAverage
from colorize_core.training.processes import start_processes
from colorize_core.training.settings import TrainingSettings

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


def fit(
    folder: Path, model: nn.Module | None = None, loss_of=loss_of, on_save=None, fixed=None, **changes
) -> nn.Module:
    chosen = settings(**changes)
    parts = lambda step: batches(step, chosen.accumulation)  # noqa: E731
    accelerator = start_processes(chosen.mixed_precision, chosen.trackers, folder)
    return trainer.train(accelerator, model or network(), parts, loss_of, chosen, folder, on_save, fixed)


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.fixture(autouse=True)
def fresh_accelerate():
    yield
    fresh_state()


def fresh_state() -> None:
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
        (folder / str(accumulation) / f"process-{PartialState().process_index}").touch()


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
    assert (tmp_path / "stall-in-save" / "unfinished-state" / "weights.safetensors").exists()

    for folder, rows in zip(stalled, (7, 9), strict=True):
        assert [path.name for path in folder.glob("step-*")] == ["step-00000006"]
        assert len((folder / "losses.csv").read_text().splitlines()) == 1 + rows
        resumed = fit(folder)
        assert f"going on from {folder / 'step-00000006'}" in capsys.readouterr().out
        assert (folder / "losses.csv").read_text() == (whole / "losses.csv").read_text()
        assert same(resumed, expected)
        assert sorted(path.name for path in folder.iterdir()) == ["losses.csv", "step-00000012"]
        for name in ("optimizer.pt", "weights.safetensors", "average.safetensors"):
            assert (folder / "step-00000012" / name).read_bytes() == (whole / "step-00000012" / name).read_bytes()


@pytest.mark.skipif(os.name == "nt", reason="accelerate's launcher of processes on the CPU forks")
def test_two_processes_train_the_same_weights_as_one(tmp_path):
    assert script(tmp_path, "share").wait(PATIENCE) == 0
    for accumulation in (1, 2):
        folder = tmp_path / str(accumulation)
        assert (folder / "process-1").exists()  # there was a second process
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
    drawn = fit(tmp_path / "drawn", on_save=lambda model, steps: {"drawn": torch.rand(()).item()})
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
        start_processes(),
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


def broken(*steps: int, factor: float = torch.nan):
    """A loss that is not finite, or whose gradients are not, in these steps."""
    calls = itertools.count()

    def loss(model, rows):
        if next(calls) not in steps:
            return loss_of(model, rows)
        if factor == 0:  # the loss is finite
            return model[0].weight.sum().mul(0).sqrt()
        return loss_of(model, rows) * factor

    return loss


@pytest.mark.parametrize("factor", [torch.nan, torch.inf, 0])
def test_a_step_whose_loss_or_gradients_are_not_finite_moves_nothing_is_logged_and_the_run_goes_on(
    tmp_path, caplog, factor
):
    weights = []
    options = {"steps": 8, "schedule": "linear", "warmup_steps": 0, "ema": 0.0, "save_every": 1}
    fit(
        tmp_path,
        loss_of=broken(5, factor=factor),
        on_save=lambda model, _: weights.append(model[0].weight.clone()),
        **options,
    )
    moved = [not torch.equal(one, two) for one, two in itertools.pairwise(weights)]
    assert moved == [True, True, True, True, False, True, True]
    rates = [float(line.split(",")[2]) for line in (tmp_path / "losses.csv").read_text().splitlines()[1:]]
    assert rates[5] == rates[6] and len(set(rates)) == 7
    assert "step 5 is left out: its loss is" in caplog.text


def test_ten_losses_in_a_row_that_are_not_finite_end_the_run_wherever_it_was_saved(tmp_path):
    for _ in range(2):  # the second time it goes on from its last save
        with pytest.raises(FloatingPointError, match="not finite in 10 steps in a row, 9 the last"):
            fit(tmp_path, loss_of=broken(*range(12)), steps=40)
        assert state.saved_states(tmp_path)[-1].name == "step-00000009"


def test_a_run_goes_on_with_another_rate_precision_average_and_division_of_its_batches(tmp_path):
    first = {"schedule": "constant", "warmup_steps": 0}
    fit(tmp_path, network(dropout=0), steps=6, **first)
    other = {"learning_rate": 0.5, "accumulation": 4, "mixed_precision": "bf16", "ema": 0.0, "betas": (0.5, 0.9)}
    fresh_state()
    fit(tmp_path, network(dropout=0), **first, **other)
    lines = (tmp_path / "losses.csv").read_text().splitlines()[1:]
    assert [float(line.split(",")[2]) for line in lines] == [0.02] * 6 + [0.5] * 6


def test_an_average_may_begin_late(tmp_path):
    fit(tmp_path, steps=6, ema=0.0, schedule="constant", warmup_steps=0)
    trained = fit(tmp_path, ema=0.5, schedule="constant", warmup_steps=0)
    assert not same(trained, fit(tmp_path / "none", ema=0.0, schedule="constant", warmup_steps=0))


def test_more_steps_that_make_the_rate_of_a_schedule_jump_are_said(tmp_path, capsys):
    fit(tmp_path, steps=6, schedule="cosine", warmup_steps=0)
    assert "jumps" not in capsys.readouterr().out
    fit(tmp_path, steps=12, schedule="cosine", warmup_steps=0)
    assert "the learning rate jumps from 0 to 0.01" in capsys.readouterr().out


@pytest.mark.parametrize(("change", "old", "new"), [("seed", 0, 1), ("optimizer", "adamw", "adamw_8bit")])
def test_a_run_does_not_go_on_with_another_seed_or_optimizer(tmp_path, change, old, new):
    fit(tmp_path)
    optimizer = trainer.build_optimizer
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "build_optimizer", lambda _, *rest: optimizer("adamw", *rest))
        with pytest.raises(ValueError, match=f"step-00000012 was trained with {change} {old}, not {new}: set it back"):
            fit(tmp_path, **{change: new})


def test_a_state_of_which_something_fixed_is_another_is_refused_by_name(tmp_path):
    first = fit(tmp_path, fixed={"rate": 0.5, "sizes": (64, 128)})
    assert same(fit(tmp_path, fixed={"rate": 0.5, "sizes": (64, 128)}), first)
    with pytest.raises(ValueError, match=r"step-00000012 was trained with rate 0.5, not 0.25: set it back"):
        fit(tmp_path, fixed={"rate": 0.25, "sizes": (64, 128)})


# States


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_as_many_states_stay_as_asked_for_and_what_is_none_is_left_alone(tmp_path):
    for name in ("step-00000002-good", "step-0000-good", "step-00000001"):
        (tmp_path / name).mkdir()
    fit(tmp_path, save_every=2, keep=3)
    mine = ["step-0000-good", "step-00000001", "step-00000002-good"]
    assert names(tmp_path) == ["losses.csv", *sorted([*mine, "step-00000008", "step-00000010", "step-00000012"])]


def test_a_state_that_cannot_be_written_leaves_nothing_and_the_run_goes_on_from_the_one_before(tmp_path, monkeypatch):
    whole, full = torch.save, itertools.count()

    def save(*inputs):
        if next(full) == 1:
            raise OSError(28, "No space left on device")
        whole(*inputs)

    expected = fit(tmp_path / "whole")
    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(ValueError, match=r"step 6 could not be saved .*No space left.*goes on from the last state"):
        fit(tmp_path / "full")
    assert names(tmp_path / "full") == ["losses.csv", "step-00000003"]
    assert same(fit(tmp_path / "full"), expected)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_states_have_the_mode_that_the_umask_gives(tmp_path):
    before = os.umask(0o022)
    fit(tmp_path, steps=1)
    os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "step-00000001").iterdir()} == {0o644}


def test_only_one_training_writes_to_a_folder(tmp_path):
    accelerator = start_processes()
    with state.claimed(accelerator, tmp_path / "mine"):
        second = state.claimed(accelerator, tmp_path / "mine")
        with pytest.raises(ValueError, match=r"another training is writing to .*mine"):
            second.__enter__()
    with state.claimed(accelerator, tmp_path / "mine"):
        pass
    assert [name for name in names(tmp_path / "mine") if name != ".lock"] == []


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").touch()
    claim = state.claimed(start_processes(), tmp_path / "file")
    with pytest.raises(ValueError, match=r"output: .*file.* cannot be written to \(.*\): name another folder"):
        claim.__enter__()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to catch")
def test_a_terminated_run_saves_and_goes_on_as_if_never_interrupted(tmp_path):
    calls, before = itertools.count(), signal.getsignal(signal.SIGTERM)

    def loss(model, rows):
        if next(calls) == 7:
            os.kill(os.getpid(), signal.SIGTERM)
        return loss_of(model, rows)

    with pytest.raises(SystemExit, match="stopped and saved at step 8"):
        fit(tmp_path / "stopped", loss_of=loss)
    assert same(fit(tmp_path / "stopped"), fit(tmp_path / "whole"))
    assert signal.getsignal(signal.SIGTERM) == before


# Launches


def test_a_launch_in_another_precision_is_refused(monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    with pytest.raises(
        ValueError, match="mixed_precision: is no, and accelerate launch was given --mixed_precision bf16"
    ):
        start_processes()
    assert start_processes("bf16").mixed_precision == "bf16"


@pytest.mark.parametrize("flag", ["FSDP", "DEEPSPEED", "MEGATRON_LM"])
def test_a_launch_that_divides_the_model_is_refused(monkeypatch, flag):
    monkeypatch.setenv(f"ACCELERATE_USE_{flag}", "true")
    with pytest.raises(ValueError, match=f"--use_{flag.lower()}, which divides a model"):
        start_processes()


def test_a_launch_of_several_processes_on_the_cpu_that_starts_one_is_refused(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setenv("MASTER_PORT", "29500")
    with pytest.raises(ValueError, match="torchrun --nproc_per_node 2"):
        start_processes()


# Averages


def test_an_average_on_the_cpu_follows_every_tenth_update():
    weight = torch.nn.Parameter(torch.zeros(2))
    average = MovingAverage({"w": weight}, 0.5, on_cpu=True)
    followed = []
    for update in range(25):
        with torch.no_grad():
            weight += 1
        average.update(update)
        followed.append(average.values["w"][0].item())
    first, second = 1 + (1 - 0.5**10) * 10, None
    second = first + (1 - 0.5**10) * (21 - first)
    assert followed == pytest.approx([1] * 10 + [first] * 10 + [second] * 5)


def test_an_average_takes_the_weights_place_for_a_while():
    weight = torch.nn.Parameter(torch.zeros(2))
    average = MovingAverage({"w": weight}, 0.9)
    with torch.no_grad():
        weight += 1
    with average.in_use():
        assert weight.tolist() == [0, 0]
    assert weight.tolist() == [1, 1] and average.values["w"].tolist() == [0, 0]


def test_eight_bit_moments_train_save_and_go_on(tmp_path):
    pytest.importorskip("bitsandbytes")
    wide = {"optimizer": "adamw_8bit", "ema": 0.0}
    fit(tmp_path / "two", network(width=2000), steps=6, schedule="constant", warmup_steps=0, **wide)
    twice = fit(tmp_path / "two", network(width=2000), schedule="constant", warmup_steps=0, **wide)
    assert same(twice, fit(tmp_path / "one", network(width=2000), schedule="constant", warmup_steps=0, **wide))


def test_without_bitsandbytes_eight_bits_say_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(ValueError, match="adamw_8bit needs bitsandbytes"):
        fit(tmp_path, optimizer="adamw_8bit")


def test_a_state_of_another_model_is_refused(tmp_path):
    fit(tmp_path)
    with pytest.raises(ValueError, match=r"step-00000012 is of another model: take another folder(?s:.)*0.weight"):
        fit(tmp_path, network(width=9))


def test_a_state_in_which_other_weights_were_frozen_is_refused(tmp_path):
    fit(tmp_path)
    frozen = network()
    frozen[0].requires_grad_(False)
    with pytest.raises(
        ValueError, match=r"step-00000012 is of another model: take another folder. One of the two has no 0.bias"
    ):
        fit(tmp_path, frozen)


def test_a_state_for_which_memory_runs_out_is_not_called_that_of_another_model(tmp_path, monkeypatch):
    fit(tmp_path, steps=6)

    def out_of_memory(*_, **__):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(state, "load_file", out_of_memory)
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

"""A training goes on where it was, or says why it does not."""

import itertools
import os
import signal

import pytest
import torch
from small_trainer import fit, fresh_state, kill_when_stalled, loss_of, network, same, script

from colorize_core.training import state, trainer


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


def test_eight_bit_moments_train_save_and_go_on(tmp_path):
    pytest.importorskip("bitsandbytes")  # its kernels for the CPU came with 0.50
    wide = {"optimizer": "adamw_8bit", "ema": 0.0}
    fit(tmp_path / "two", network(width=2000), steps=6, schedule="constant", warmup_steps=0, **wide)
    twice = fit(tmp_path / "two", network(width=2000), schedule="constant", warmup_steps=0, **wide)
    assert same(twice, fit(tmp_path / "one", network(width=2000), schedule="constant", warmup_steps=0, **wide))


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

"""The saved states of a training, in its folder."""

import itertools
import os

import pytest
import torch
from small_trainer import fit, names, same

from colorize_core.training import state
from colorize_core.training.processes import start_processes


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

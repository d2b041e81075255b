"""One process, or several; launches that are none of a training's are refused."""

import os

import pytest
from small_trainer import PATIENCE, fit, names, network, same, script

from colorize_core.training.processes import start_processes


@pytest.mark.skipif(os.name == "nt", reason="accelerate's launcher of processes on the CPU forks")
def test_two_processes_train_the_same_weights_as_one_and_no_process_trains_alone(tmp_path):
    assert script(tmp_path, "share").wait(PATIENCE) == 0
    for accumulation in (1, 2):
        folder = tmp_path / str(accumulation)
        assert (folder / "process-1").exists()  # there was a second process
        together = fit(folder, network(dropout=0), steps=3, accumulation=accumulation)  # what they left
        alone = fit(tmp_path / "alone" / str(accumulation), network(dropout=0), steps=3, accumulation=accumulation)
        for two, one in zip(together.parameters(), alone.parameters(), strict=True):
            assert (two - one).abs().max() < 1e-5
        assert not same(together, network())
    for process in (0, 1):
        assert "not all processes see the same" in (tmp_path / f"refused-{process}").read_text()
    assert names(tmp_path / "unshared") == [".lock"]


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

import pytest
import torch

from colorize_core.training import loop


def fitted(folder, steps, stop_at=None):
    """A line fitted to noise; killed at the start of step `stop_at` if given."""
    torch.manual_seed(0)
    line = torch.nn.Linear(3, 1)

    def loss(rng, step):
        if step == stop_at:
            raise KeyboardInterrupt
        x = torch.from_numpy(rng.standard_normal((8, 3))).float()
        return (line(x) - x.sum(1, keepdim=True) + torch.randn(8, 1)).square().mean()

    return loop.train("line", line, loss, steps=steps, peak_rate=0.1, folder=folder, seed=1)


def test_a_killed_run_goes_on_as_if_never_interrupted(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "SAVE_EVERY", 10)
    (tmp_path / "whole").mkdir()
    whole = fitted(tmp_path / "whole", 40)
    with pytest.raises(KeyboardInterrupt):
        fitted(tmp_path, 40, stop_at=27)
    resumed = fitted(tmp_path, 40)
    assert torch.equal(whole.weight, resumed.weight) and torch.equal(whole.bias, resumed.bias)


def test_what_remains_is_the_average_of_the_weights_and_it_has_learnt(tmp_path):
    line = fitted(tmp_path, 300)
    assert (line.weight - 1).abs().max() < 0.2 and not line.training
    last = torch.load(tmp_path / "line.pt", weights_only=True)
    assert torch.equal(last["average"][0], line.weight) and not torch.equal(last["module"]["weight"], line.weight)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    line = torch.nn.Linear(1, 1)
    with pytest.raises(FloatingPointError, match="line: the loss is nan at step 0"):
        loop.train(
            "line", line, lambda rng, step: line.weight.sum() * torch.nan, steps=2, peak_rate=1, folder=tmp_path, seed=1
        )

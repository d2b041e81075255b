"""The training loop: what a step does, and what is saved of it."""

import itertools
import sys

import pytest
import torch
from accelerate.optimizer import AcceleratedOptimizer
from small_trainer import fit, loss_of, network, same, settings
from torch import nn
from torch.utils.data import DataLoader

from colorize_core.training import state, trainer
from colorize_core.training.optimizer import MovingAverage
from colorize_core.training.processes import start_processes


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


def test_parts_of_a_batch_train_the_same_weights_as_the_whole(tmp_path):
    whole, parts = (fit(tmp_path / str(n), network(dropout=0), accumulation=n) for n in (1, 4))
    for one, two in zip(whole.parameters(), parts.parameters(), strict=True):
        assert (one - two).abs().max() < 1e-5
    assert not same(parts, network())


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


def test_without_bitsandbytes_eight_bits_say_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(ValueError, match="adamw_8bit needs bitsandbytes"):
        fit(tmp_path, optimizer="adamw_8bit")


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

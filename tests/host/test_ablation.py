"""The ablation's training and measuring, in the smallest sizes that still go through all of it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

DEMO = Path(__file__).parents[2] / "demo"


@pytest.fixture
def ablation(load_module, monkeypatch):
    """`ablation("data")` is a module of the ablation, made small."""
    small = {
        "data": {"PICTURES": 4, "WARPS": 1, "BATCH": 2},
        "training": {"WARPS": 1},
        "unseen": {"TESTS": 2},
        "evaluation": {"TESTS": 2, "LOSS_DRAWS": 1, "STEPS": 2},
    }
    for name, values in small.items():
        for constant, value in values.items():
            monkeypatch.setattr(load_module(f"ablation.{name}"), constant, value)
    training = load_module("ablation.training")
    for name in ("BASE", "RUN"):
        few = replace(getattr(training, name), steps=2, warmup_steps=0, save_every=1)
        monkeypatch.setattr(training, name, few)
    return lambda name: load_module(f"ablation.{name}")


@pytest.fixture
def base(ablation):
    torch.manual_seed(0)
    return ablation("training").build_unet(ablation("training").DEMO_CONFIG)


def test_hints_computed_before_are_those_of_the_sketch(ablation, base):
    training, side = ablation("training"), ablation("data").SIZE
    with torch.no_grad():
        for layer in (base.control_encoder.zero_layer, *base.control_encoder.zero_blocks):
            torch.nn.init.normal_(layer[0].weight)
        sketch = torch.rand(3, 3, side, side) * 2 - 1
        hints = base.control_encoder(sketch)
        named = training.unpacked(training.hints_of(base, sketch), side // 8)
    assert list(named) == [f"hint_{k}" for k in range(5)]
    for hint, expected in zip(named.values(), hints, strict=True):
        assert torch.equal(hint, expected)


def test_the_setups_see_the_same_batches_whatever_step_they_go_on_from(ablation):
    data = ablation("data")
    figures = data.EncodedFigures(torch.randn(4, 4, 8, 8), torch.zeros(4, 3, 64, 64), torch.randn(4, 1, 256, 64))
    first = data.figure_batches(figures, figures.sketch, 1, 0)
    next(first)
    again, other = (next(data.figure_batches(figures, figures.sketch, seed, 1)) for seed in (1, 2))
    for name, value in next(first).items():
        assert torch.equal(value, again[name])
    assert not torch.equal(again["latent"], other["latent"]) and not torch.equal(again["seeds"], other["seeds"])


def test_a_mismatched_reference_shows_another_view_and_something_behind_the_figure(ablation):
    unseen, rng = ablation("unseen"), np.random.default_rng(0)
    for _ in range(20):
        pose = unseen.random_pose(rng)
        other = unseen.mismatched(pose, rng)
        assert other.view != pose.view and other.prop != "nothing"


def test_it_trains_measures_and_reports(ablation, tmp_path, monkeypatch):
    report, noisy = ablation("report"), ablation("training").SETUPS["noisy"]
    monkeypatch.setattr(report, "SEEDS", (1,))
    monkeypatch.setattr(report, "SETUPS", {"noisy": noisy})
    with torch.inference_mode(False):
        report.run(tmp_path / "work", tmp_path / "out", DEMO)
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert list(found) == ["base", "noisy, seed 1"]
    table = (tmp_path / "out" / "table.md").read_text()
    assert all(table.count(f"| {name} |") == 2 for name in found)
    assert (tmp_path / "out" / "sheet-guidance-3.jpg").stat().st_size > 1000

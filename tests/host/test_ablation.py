"""The ablation's training and measuring, in the smallest sizes that still go through all of it."""

import importlib
import json
from pathlib import Path

import pytest
import torch

DEMO = Path(__file__).parents[2] / "demo"


@pytest.fixture
def ablation(pack, monkeypatch):
    module = importlib.import_module(f"{pack.__name__}.colorize_core.training.demo.ablation")
    for name, value in {"PICTURES": 4, "WARPS": 1, "TESTS": 2, "LOSS_DRAWS": 1, "BATCH": 2, "STEPS": 2}.items():
        monkeypatch.setattr(module, name, value)
    for name in ("BASE", "RUN"):
        few = module.replace(getattr(module, name), steps=2, warmup_steps=0, save_every=1)
        monkeypatch.setattr(module, name, few)
    return module


@pytest.fixture
def base(ablation):
    torch.manual_seed(0)
    return ablation.build_unet(ablation.CONFIG)


def test_hints_computed_before_are_those_of_the_sketch(ablation, base):
    with torch.no_grad():
        for layer in (base.control_encoder.zero_layer, *base.control_encoder.zero_blocks):
            torch.nn.init.normal_(layer[0].weight)
        sketch = torch.rand(3, 3, ablation.SIZE, ablation.SIZE) * 2 - 1
        hints = base.control_encoder(sketch)
        named = ablation.unpacked(ablation.hints_of(base, sketch), ablation.SIZE // 8)
    assert list(named) == [f"hint_{k}" for k in range(5)]
    for hint, expected in zip(named.values(), hints, strict=True):
        assert torch.equal(hint, expected)


def test_the_setups_see_the_same_batches_whatever_step_they_go_on_from(ablation):
    data = ablation.Encoded(torch.randn(4, 4, 8, 8), torch.zeros(4, 3, 64, 64), torch.randn(4, 1, 256, 64))
    first = ablation.batches(data, data.sketch, 1, 0)
    next(first)
    again, other = (next(ablation.batches(data, data.sketch, seed, 1)) for seed in (1, 2))
    for name, value in next(first).items():
        assert torch.equal(value, again[name])
    assert not torch.equal(again["latent"], other["latent"]) and not torch.equal(again["seeds"], other["seeds"])


def test_a_mismatched_reference_shows_another_view_and_something_behind_the_figure(ablation):
    rng = ablation.np.random.default_rng(0)
    for _ in range(20):
        pose = ablation.random_pose(rng)
        other = ablation.mismatched(pose, rng)
        assert other.view != pose.view and other.prop != "nothing"


def test_it_trains_measures_and_reports(ablation, tmp_path, monkeypatch):
    monkeypatch.setattr(ablation, "SEEDS", (1,))
    monkeypatch.setattr(ablation, "SETUPS", {"noisy": ablation.SETUPS["noisy"]})
    with torch.inference_mode(False):
        ablation.run(tmp_path / "work", tmp_path / "out", DEMO)
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert list(found) == ["base", "noisy, seed 1"]
    table = (tmp_path / "out" / "table.md").read_text()
    assert all(table.count(f"| {name} |") == 2 for name in found)
    assert (tmp_path / "out" / "sheet-guidance-3.jpg").stat().st_size > 1000

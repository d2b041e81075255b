"""Rows without a reference: their cross-attention is left out, and nothing changes by that."""

import pytest
import torch

SIZE, WIDTH = 16, 64


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def color(pack, node):
    """`color(model, rows=1, ...)`: a latent of Colorize, one step of euler."""

    def run(model, rows=1, **guidances):
        core = pack.colorize_core
        local = rand(rows, 16, WIDTH, seed=1)
        tokens = core.tokens.ReferenceTokens(cls=local[:, :1], local=local)
        sketch = core.sketch.Sketch((rand(1, 3, 8 * SIZE, 8 * SIZE, seed=2) > 1.5).float() * 2 - 1)
        guidances = {"reference_guidance": 3.0, "sketch_guidance": 1.0} | guidances
        latent = {"samples": torch.zeros(rows, 4, SIZE, SIZE)}
        settings = {"steps": 1, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
        return node("Sampler").execute(model, tokens, sketch, latent, 3, **settings, **guidances).result[0]["samples"]

    return run


@pytest.fixture
def attended_rows(pack, monkeypatch):
    """How many rows each cross-attention attends for."""
    branches, rows = pack.colorize_core.host.branches, []
    attention = branches.optimized_attention

    def counted(query, *args, **kwargs):
        rows.append(len(query))
        return attention(query, *args, **kwargs)

    monkeypatch.setattr(branches, "optimized_attention", counted)
    return rows


@pytest.fixture
def patched(model):
    """The model with a patch of another pack in its cross-attentions, that changes nothing."""
    other = model.clone()
    other.set_model_attn2_patch(lambda query, context, value, options: (query, context, value))
    return other


@pytest.mark.parametrize(
    ("rows", "guidances", "used"),
    [(1, {}, 1), (3, {}, 3), (1, {"sketch_guidance": 2.0}, 2), (1, {"reference_guidance": 1.0}, 1)],
)
def test_only_rows_with_a_reference_attend_to_it(color, model, patched, attended_rows, rows, guidances, used):
    result = color(model, rows, **guidances)
    assert attended_rows == [used] * 16
    assert torch.allclose(result, color(patched, rows, **guidances), atol=1e-5)


def test_a_patch_of_another_pack_sees_all_rows(color, patched, attended_rows):
    color(patched)
    assert attended_rows == [2] * 16


def test_without_any_reference_nothing_attends(node, model, core_node, attended_rows):
    guided = core_node("KSampler")(
        model=model,
        seed=1,
        steps=1,
        cfg=1.0,
        sampler_name="euler",
        scheduler="normal",
        positive=[[None, {}]],
        negative=[[None, {}]],
        latent_image={"samples": torch.zeros(1, 4, SIZE, SIZE)},
        denoise=1.0,
    )[0]["samples"]
    assert attended_rows == [] and guided.isfinite().all()

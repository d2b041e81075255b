"""Block Cache through the real samplers: what is left out, and that what is computed is right."""

import pytest
import torch

SIZE, WIDTH = 16, 64


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def difference(a, b):
    return ((a - b).abs().max() / b.abs().mean()).item()


@pytest.fixture
def cached(node, model):
    """`cached(interval, ...)`: the model with a Block Cache."""
    return lambda interval, start=0.0, end=1.0, model=model: (
        node("BlockCache").execute(model, interval, start, end).result[0]
    )


@pytest.fixture
def tokens(pack):
    local = rand(1, 16, WIDTH, seed=1)
    return pack.colorize_core.tokens.ReferenceTokens(cls=local[:, :1], local=local)


@pytest.fixture
def sketch(pack):
    return pack.colorize_core.sketch.Sketch((rand(1, 3, 8 * SIZE, 8 * SIZE, seed=2) > 1.5).float() * 2 - 1)


@pytest.fixture
def color(node, tokens, sketch):
    def run(model, steps=20, sampler_name="euler", **settings):
        latent = {"samples": torch.zeros(1, 4, SIZE, SIZE)}
        settings = {"reference_guidance": 3.0, "sketch_guidance": 1.0, "denoise": 1.0} | settings
        options = {"sampler_name": sampler_name, "scheduler": "normal"}
        return (
            node("Sampler").execute(model, tokens, sketch, latent, 3, steps, **options, **settings).result[0]["samples"]
        )

    return run


@pytest.fixture
def deep_calls(model, monkeypatch):
    """Counts the calls of the middle block's first layer."""
    calls = []
    layer = model.model.diffusion_model.middle_block[0]
    forward = layer.forward
    monkeypatch.setattr(layer, "forward", lambda *args, **kwargs: calls.append(1) or forward(*args, **kwargs))
    return calls


@pytest.mark.parametrize(("interval", "start", "end", "full"), [(2, 0.1, 1.0, 11), (3, 0.1, 1.0, 8), (2, 0.0, 0.5, 15)])
def test_the_deep_blocks_are_computed_at_some_steps_only(cached, color, deep_calls, interval, start, end, full):
    color(cached(interval, start, end))
    assert len(deep_calls) == full


def test_an_interval_of_1_and_a_start_at_the_end_leave_nothing_out(cached, color, model):
    plain = color(model, steps=4)
    assert torch.equal(color(cached(1), steps=4), plain)
    assert torch.equal(color(cached(3, 1.0), steps=4), plain)
    assert not torch.equal(color(cached(3), steps=4), plain)


def test_each_run_starts_anew_and_leaves_the_model_as_it_was(cached, color, model):
    before, faster = color(model, steps=4), cached(2)
    first = color(faster, steps=4)
    assert torch.equal(color(faster, steps=4), first)
    assert torch.equal(color(model, steps=4), before)


@pytest.fixture
def evaluate_twice(node, tokens, sketch):
    """`evaluate_twice(model)`: what two evaluations in a row of one noisy latent give, a full one and a shallow one."""

    def run(model, tokens=tokens, change=lambda positive: positive, rows=1):
        import comfy.samplers

        positive, no_reference, _ = node("Conditioning").execute(tokens, sketch).result
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(change(positive), no_reference)
        guider.set_cfg(3.0)
        noisy, found = rand(rows, 4, SIZE, SIZE, seed=9) * 5, []

        def twice(model, noise, steps, extra_args, callback, disable):
            found.extend(model(noisy, torch.full((rows,), 5.0), **extra_args) for _ in range(2))
            return found[-1]

        latent = torch.zeros(rows, 4, SIZE, SIZE)
        guider.sample(latent, latent, comfy.samplers.KSAMPLER(twice), torch.tensor([5.0, 3.0, 0.0]), seed=4)
        return found

    return run


def test_on_the_same_input_a_shallow_step_gives_what_a_full_one_gave(cached, evaluate_twice, deep_calls):
    full, shallow = evaluate_twice(cached(2))
    assert len(deep_calls) == 1
    assert difference(shallow, full) < 1e-5


def test_what_acts_in_the_shallow_blocks_acts_at_every_step(
    pack, node, core_node, cached, evaluate_twice, tokens, model, deep_calls
):
    core = pack.colorize_core
    other = core.tokens.ReferenceTokens(cls=tokens.cls.flip(-1), local=tokens.local.flip(-1))
    mask = torch.zeros(1, 8 * SIZE, 8 * SIZE)
    mask[:, :, : 4 * SIZE] = 1
    regions = node("RegionReference").execute(tokens, other, mask, 0.7).result[0]
    strong = (
        node("ReferenceStrength").execute(model, 0.5, per_block=", ".join(str(k / 15) for k in range(16))).result[0]
    )
    free = core_node("FreeU_V2")(model=strong, b1=1.3, b2=1.4, s1=0.9, s2=0.2)[0]
    full, shallow = evaluate_twice(cached(2, model=free), tokens=regions, rows=2)
    assert len(deep_calls) == 1
    assert difference(shallow, full) < 1e-5


def test_an_area_is_stored_apart(core_node, cached, evaluate_twice):
    def change(positive):
        area = core_node("ConditioningSetArea")(
            conditioning=positive, width=4 * SIZE, height=8 * SIZE, x=4 * SIZE, y=0, strength=0.8
        )[0]
        return positive + area

    full, shallow = evaluate_twice(cached(2), change=change)
    assert difference(shallow, full) < 1e-5


def test_reference_injection_works_beside_it(node, cached, evaluate_twice):
    class GivenVAE:
        def encode(self, pixels):
            return rand(1, 4, 8, 8, seed=4)

    faster = cached(2)
    injected = node("ReferenceInjection").execute(faster, GivenVAE(), torch.rand(1, 64, 64, 3), 0.5, 0.0, 0.0).result[0]
    full, shallow = evaluate_twice(injected)
    assert difference(shallow, full) < 1e-5


@pytest.mark.parametrize("sampler_name", ["heun", "dpmpp_2m_sde", "uni_pc", "lcm"])
def test_samplers_of_every_kind(cached, color, model, sampler_name):
    torch.manual_seed(0)
    out = color(cached(2, 0.1), steps=6, sampler_name=sampler_name)
    assert out.isfinite().all()


def test_a_compiled_model_is_refused_by_name(core_node, cached, color):
    compiled = core_node("TorchCompileModel")(model=cached(2), backend="inductor")[0]
    with pytest.raises(ValueError, match=r"^model: Block Cache and TorchCompileModel do not work together"):
        color(compiled, steps=2)

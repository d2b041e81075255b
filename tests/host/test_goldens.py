"""Single passes and whole runs agree with the published implementation, through the MODEL that the loader gave."""

import pytest
import torch


@pytest.fixture
def samplers(host):
    import comfy.samplers

    return comfy.samplers


@pytest.fixture(scope="module")
def load(pack, host, tiny_checkpoint):
    cls = host.NODE_CLASS_MAPPINGS["ColorizeDiffusion_LoadCheckpoint"]
    with torch.inference_mode():
        return {prediction: cls.execute(tiny_checkpoint, prediction).result[0] for prediction in ("eps", "v")}


@pytest.fixture
def conditioning(pack, node, golden):
    """`conditioning(strength)`: positive, no_reference, no_sketch of the golden's sketch and context."""

    def build(strength=1.0):
        core = pack.colorize_core
        tokens = core.tokens.ReferenceTokens(cls=golden["context"][:, :1], local=golden["context"])
        return node("Conditioning").execute(tokens, core.sketch.Sketch(golden["sketch"], strength)).result

    return build


@pytest.fixture
def predict(samplers, golden):
    """`predict(guider)`: what the guided model predicts for the golden's `x` at its two timesteps, as a raw eps."""

    def run(guider):
        sigmas = guider.model_patcher.get_model_object("model_sampling").sigma(golden["t"])
        rows = sigmas[:, None, None, None]
        noisy = golden["x"] * (1 + rows**2) ** 0.5

        def one_pass(model, noise, steps, extra_args, callback, disable):
            return (noisy - model(noisy, sigmas, **extra_args)) / rows

        latent = torch.zeros_like(noisy)
        out = guider.sample(latent, latent, samplers.KSAMPLER(one_pass), sigmas)
        return guider.model_patcher.model.process_latent_in(out)

    return run


@pytest.fixture
def eps(core_node, predict):
    """`eps(model, positive)`: the same without guidance."""
    return lambda model, positive: predict(core_node("BasicGuider")(model=model, conditioning=positive)[0])


def test_hints_are_those_of_the_published_encoder(load, golden, assert_golden):
    encoder = load["eps"].model.diffusion_model.control_encoder
    for name, sketch in ("hints", golden["sketch"]), ("blank_hints", -torch.ones_like(golden["sketch"])):
        for k, hint in enumerate(encoder(sketch)):
            assert_golden(hint, golden[f"{name}.{k}"])


def test_eps_with_sketch_and_reference(load, conditioning, eps, golden, assert_golden):
    positive, no_reference, no_sketch = conditioning()
    assert_golden(eps(load["eps"], positive), golden["eps"])
    assert_golden(eps(load["eps"], no_reference), golden["eps.no_reference"])
    assert_golden(eps(load["eps"], no_sketch), golden["eps.no_sketch"])


def test_sketch_strength_scales_the_hints(load, conditioning, eps, golden, assert_golden):
    assert_golden(eps(load["eps"], conditioning(0.6)[0]), golden["eps.sketch_strength_0.6"])


@pytest.mark.parametrize(
    ("strengths", "name"),
    [
        ({"strength": 0.55}, "eps.reference_strength_0.55"),
        (
            {"strength": 1.0, "encoder": 0.8, "color": 0.5, "semantics": 0.3},
            "eps.levels_enc0.8_mid0.5_low0.3",
        ),
        (
            {"strength": 1.0, "per_block": ", ".join(str(x) for x in torch.linspace(0.05, 0.95, 16).tolist())},
            "eps.per_block_linspace_0.05_0.95",
        ),
    ],
)
def test_reference_strength_scales_each_cross_attention(
    load, node, conditioning, eps, golden, assert_golden, strengths, name
):
    model = node("ReferenceStrength").execute(load["eps"], **strengths).result[0]
    assert_golden(eps(model, conditioning()[0]), golden[name])
    assert_golden(eps(load["eps"], conditioning()[0]), golden["eps"])  # the model it came from is as before


@pytest.mark.parametrize(
    ("guidances", "name"), [((5.0, 1.0), "reference"), ((1.0, 1.5), "sketch"), ((5.0, 1.5), "dual")]
)
def test_guidance(load, node, conditioning, predict, golden, assert_golden, guidances, name):
    guider = node("Guider").execute(load["eps"], *conditioning(), *guidances).result[0]
    assert_golden(predict(guider), golden[f"cfg.{name}"])


@pytest.mark.parametrize("prediction", ["eps", "v"])
@pytest.mark.parametrize(
    ("run", "sampler", "guidances"),
    [
        ("euler.uniform.6.cfg5.0", "euler", (5.0, 1.0)),
        ("euler.uniform.6.dual5.0_1.5", "euler", (5.0, 1.5)),
        ("dpmpp2m.karras.5.cfg5.0", "dpmpp_2m", (5.0, 1.0)),
    ],
)
def test_whole_runs(load, node, samplers, conditioning, golden, assert_golden, prediction, run, sampler, guidances):
    guider = node("Guider").execute(load[prediction], *conditioning(), *guidances).result[0]
    schedule = run.replace("dual5.0_1.5", "cfg5.0")
    sigmas = golden[f"sample.{prediction}.{schedule}.sigmas"]
    noise = golden["noise"]
    sampler = samplers.sampler_object(sampler)
    if sampler.max_denoise(_Wrapped(guider.model_patcher.model), sigmas):  # the host then starts from a larger noise
        noise = noise * sigmas[0] / (1 + sigmas[0] ** 2) ** 0.5

    out = guider.sample(noise, torch.zeros_like(noise), sampler, sigmas)
    out = guider.model_patcher.model.process_latent_in(out)
    assert_golden(out, golden[f"sample.{prediction}.{run}"], 1e-3)


class _Wrapped:
    def __init__(self, model):
        self.inner_model = model

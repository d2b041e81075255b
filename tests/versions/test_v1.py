"""v1 against what the published implementation gave: its parts, single passes, whole runs, and edits with words."""

import re

import pytest
import torch
from golden_v1 import GoldenV1, read_golden_v1
from safetensors.torch import save_file
from small import GivenVAE, raw_eps

from colorize_core.manipulation import checked_thresholds, position_weights, positions
from colorize_core.networks.sketch_encoder import SketchEncoder
from colorize_core.tokens import preprocess
from colorize_core.training.diffusion import cumulative_alphas
from colorize_core.training.strategies import token_noise_level
from colorize_core.versions.v1 import VERSION

CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
SAMPLERS = {"euler": "euler", "dpmpp2m": "dpmpp_2m"}  # the host's names of those in the golden's


@pytest.fixture(scope="module")
def v1(goldens) -> GoldenV1:
    return read_golden_v1(goldens)


@pytest.fixture
def named(v1):
    """`named(pattern)`: what the golden has under names of that pattern, and the pattern's groups: at least one."""

    def find(pattern):
        matches = {key: re.fullmatch(pattern, key) for key in v1.tensors}
        found = [(v1[key], match.groups()) for key, match in matches.items() if match]
        assert found, pattern
        return found

    return find


# Parts


def test_a_reference_is_prepared_as_published(v1):
    image, expected = (v1["reference"].movedim(1, -1) + 1) / 2, v1["reference.preprocessed"]
    assert (preprocess(image, expected.shape[-1], CLIP_MEAN, CLIP_STD) - expected).abs().max() < 1e-4


def test_the_sketch_encoder_gives_the_published_hints(v1, assert_golden):
    encoder, prefix = SketchEncoder(v1.config["mc"], v1.config["mult"]), "control_encoder."
    encoder.load_state_dict({k.removeprefix(prefix): v for k, v in v1.checkpoint.items() if k.startswith(prefix)})
    for name, sketch in ("hints", v1["sketch"]), ("blank_hints", -torch.ones_like(v1["sketch"])):
        hints = encoder(sketch)
        assert len(hints) == len(VERSION.hints.blocks)
        for k, hint in enumerate(hints):
            assert_golden(hint, v1[f"{name}.{k}"])


def test_the_training_schedule_is_the_published_one(v1):
    assert (cumulative_alphas() - v1["alphas_cumprod"]).abs().max() < 1e-6


def test_the_noise_on_tokens_is_the_published_one(v1):
    alpha, beta = token_noise_level(v1["noisy.t"].long(), cumulative_alphas())
    assert (alpha - v1["noisy.alpha"].flatten()).abs().max() < 1e-5
    assert (beta - v1["noisy.beta"].flatten()).abs().max() < 1e-5


def test_thresholds_weigh_positions_as_published(v1, named, assert_golden):
    weights = position_weights(positions(v1["pwm.in"][..., 0]), checked_thresholds((0.3, 0.45, 0.6, 0.9)))
    for expected, (scale,) in named(r"pwm\.dscale(.*)"):
        assert_golden(float(scale) * weights[..., None], expected)


# The denoiser


@pytest.fixture(scope="module")
def load(pack, host, models_dir, v1):
    """`load(prediction)`: the golden's MODEL, as Load ColorizeDiffusion Checkpoint gives it."""
    path = models_dir / "checkpoints" / "golden-v1.safetensors"
    save_file(v1.checkpoint, path, v1.metadata)
    cls, loaded = host.NODE_CLASS_MAPPINGS["ColorizeDiffusion_LoadCheckpoint"], {}

    def run(prediction="eps"):
        if prediction not in loaded:
            loaded[prediction] = cls.execute(path.name, prediction).result[0]
        return loaded[prediction]

    return run


@pytest.fixture
def condition(pack, node, v1):
    """`condition(context, strength)`: positive, no_reference, no_sketch of the golden's sketch."""

    def build(context=None, strength=1.0):
        core, local = pack.colorize_core, v1["context"] if context is None else context
        tokens = core.tokens.ReferenceTokens(cls=local[:, :1], local=local)
        return node("Conditioning").execute(tokens, core.sketch.Sketch(v1["sketch"], strength)).result

    return build


@pytest.fixture
def predict(host, v1):
    """`predict(guider, sigmas)`: what the guided model predicts for the golden's `x` there, as a raw eps."""

    def run(guider, sigmas=None):
        if sigmas is None:
            sigmas = guider.model_patcher.get_model_object("model_sampling").sigma(v1["t"])
        return raw_eps(guider, v1["x"], sigmas, seed=5)

    return run


@pytest.fixture
def eps(core_node, predict):
    """`eps(model, positive)`: the same without guidance."""
    return lambda model, positive, sigmas=None: predict(
        core_node("BasicGuider")(model=model, conditioning=positive)[0], sigmas
    )


def test_eps_with_sketch_and_reference(load, condition, eps, v1, assert_golden):
    for name, conditioning in zip(("eps", "eps.no_reference", "eps.no_sketch"), condition(), strict=True):
        assert_golden(eps(load(), conditioning), v1[name])


def test_sketch_strength_scales_the_hints(load, condition, eps, named, assert_golden):
    for expected, (strength,) in named(r"eps\.sketch_strength_(.*)"):
        assert_golden(eps(load(), condition(strength=float(strength))[0]), expected)


def test_reference_strength_scales_each_cross_attention(load, node, condition, eps, v1, named, assert_golden):
    def check(expected, **strengths):
        model = node("ReferenceStrength").execute(load(), **strengths).result[0]
        assert_golden(eps(model, condition()[0]), expected)

    for expected, (strength,) in named(r"eps\.reference_strength_(.*)"):
        check(expected, strength=float(strength))
    for expected, levels in named(r"eps\.levels_enc(.*)_mid(.*)_low(.*)"):
        check(expected, strength=1.0, **dict(zip(("encoder", "color", "semantics"), map(float, levels), strict=True)))
    for expected, (first, last) in named(r"eps\.per_block_linspace_(.*)_(.*)"):
        each = torch.linspace(float(first), float(last), VERSION.attention.count).tolist()
        check(expected, strength=1.0, per_block=", ".join(map(str, each)))
    assert_golden(eps(load(), condition()[0]), v1["eps"])  # the model that they came from is as before


@pytest.mark.parametrize("kind", ["reference", "sketch", "dual"])
def test_guidance(load, node, condition, predict, v1, assert_golden, kind):
    by_reference, by_sketch = v1.config["g"]
    guidances = {"reference": (by_reference, 1.0), "sketch": (1.0, by_sketch), "dual": (by_reference, by_sketch)}
    guider = node("Guider").execute(load(), *condition(), *guidances[kind]).result[0]
    assert_golden(predict(guider), v1[f"cfg.{kind}"])


@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_whole_runs(load, node, condition, v1, named, assert_golden, prediction):
    import comfy.samplers

    runs = named(rf"sample\.{prediction}\.((\w+)\.\w+\.\d+)\.(cfg|dual)([^_]*?)(?:_(.*))?(?<!sigmas)")
    for expected, (run, sampler, _, by_reference, by_sketch) in runs:
        guidances = float(by_reference), float(by_sketch or 1)
        guider = node("Guider").execute(load(prediction), *condition(), *guidances).result[0]
        (sigmas, _), *_ = named(rf"sample\.{prediction}\.{re.escape(run)}\.cfg(.*)\.sigmas")
        noise, sampler = v1["noise"], comfy.samplers.sampler_object(SAMPLERS[sampler])
        if sampler.max_denoise(_Wrapped(guider.model_patcher.model), sigmas):  # the host starts from a larger noise
            noise = noise * sigmas[0] / (1 + sigmas[0] ** 2) ** 0.5
        out = guider.sample(noise, torch.zeros_like(noise), sampler, sigmas)
        assert_golden(guider.model_patcher.model.process_latent_in(out), expected, 1e-3)


class _Wrapped:
    def __init__(self, model):
        self.inner_model = model


@pytest.mark.parametrize("rows", ["one conditioning", "two conditionings"])
def test_injection(pack, load, node, condition, eps, v1, named, assert_golden, rows):
    """Row 0 has the reference and row 1 has not, as two rows of one conditioning or in two of them."""
    model, injected = load(), v1["injected_latent"]
    sigma = model.get_model_object("model_sampling").sigma(v1["t"][:1])
    noise = pack.colorize_core.host.injection.make_noise(injected, seed=5)
    latent = injected * (1 + sigma**2) ** 0.5 - sigma * noise  # such that noised, it is the published one
    vae, image = GivenVAE(model.model.process_latent_out(latent)), torch.rand(1, 64, 64, 3)
    sketch, both = pack.colorize_core.sketch.Sketch(v1["injected_sketch"]), sigma.expand(2)
    for expected, (fidelity, control) in named(r"eps\.injection_f(.*)_ctl(.*)"):
        settings = {"style_fidelity": float(fidelity), "sketch_fidelity": float(control), "start_percent": 0.0}
        patched = node("ReferenceInjection").execute(model, vae, image, sketch=sketch, **settings).result[0]
        if rows == "one conditioning":
            context = torch.cat([v1["context"], torch.zeros_like(v1["context"])])
            assert_golden(eps(patched, condition(context)[0], both), expected)
        else:
            for i, conditioning in enumerate(condition()[:2]):
                assert_golden(eps(patched, conditioning, both)[i], expected[i])
        assert not torch.allclose(v1["eps"], expected, atol=1e-2)


# Tokens, texts and edits


@pytest.fixture(scope="module")
def towers(pack, host, models_dir, v1):
    """The golden's CLIP_VISION and CLIP, as Load Reference CLIP gives them."""
    path = models_dir / "clip_vision" / "golden-v1-clip.safetensors"
    save_file(v1.clip, path, v1.clip_metadata)
    return host.NODE_CLASS_MAPPINGS["ColorizeDiffusion_LoadCLIP"].execute(clip_name=path.name).result


@pytest.fixture
def tokens(pack, v1):
    full = v1["tokens.full"]
    return pack.colorize_core.tokens.ReferenceTokens(cls=full[:, :1], local=full[:, 1:])


def together(tokens) -> torch.Tensor:
    return torch.cat([tokens.cls, tokens.local], dim=1)


def test_tokens_are_the_published_ones(towers, node, v1, assert_golden):
    image = (v1["reference"].movedim(1, -1) + 1) / 2
    (tokens,) = node("EncodeReference").execute(clip_vision=towers[0], image=image).result
    assert_golden(together(tokens), v1["tokens.full"])


@pytest.mark.parametrize(("layer", "name"), [("penultimate", "text.clip_skip_1"), ("last", "text.clip_skip_0")])
def test_text_features_are_the_published_ones(pack, towers, v1, assert_golden, layer, name):
    encode_text = pack.colorize_core.host.clip.encode_text
    assert_golden(encode_text(towers[1], v1.texts, layer), v1[name][:, 0])


@pytest.fixture
def global_text(node, towers):
    def run(tokens, target, anchor="", scale=6.0, enhance=False):
        return node("GlobalText").execute(tokens, towers[1], target, anchor, scale, enhance, "penultimate").result[0]

    return run


@pytest.fixture
def local_text(node, towers):
    def run(tokens, target, thresholds=(0.5, 0.55, 0.65, 0.95), scale=8.0, enhance=False, **texts):
        named = {f"threshold_{i}": value for i, value in enumerate(thresholds)} | {"anchor": ""} | texts
        settings = {"scale": scale, "enhance": enhance, "text_layer": "penultimate"}
        return node("LocalText").execute(tokens=tokens, clip=towers[1], target=target, **settings, **named).result[0]

    return run


@pytest.mark.parametrize("case", ["anchor", "anchor_enhance", "no_anchor", "no_anchor_enhance"])
def test_a_global_edit(v1, assert_golden, tokens, global_text, case):
    anchor = "" if "no_anchor" in case else v1.texts[1]
    edited = global_text(tokens, v1.texts[0], anchor, enhance="enhance" in case)
    assert_golden(edited.cls, v1[f"global.{case}"])
    assert torch.equal(edited.local, tokens.local)


@pytest.mark.parametrize("case", ["anchor", "anchor_enhance", "no_anchor"])
def test_a_local_edit(v1, assert_golden, tokens, local_text, case):
    anchor = "" if case == "no_anchor" else v1.texts[1]
    edited = local_text(tokens, v1.texts[0], anchor=anchor, control=v1.texts[1], enhance="enhance" in case)
    assert_golden(together(edited), v1[f"local.{case}"])


def test_two_global_nodes_in_a_row_are_a_sequence(v1, assert_golden, tokens, global_text):
    first = global_text(tokens, v1.texts[0], v1.texts[1], enhance=True)
    assert_golden(global_text(first, v1.texts[3], scale=4.0).cls, v1["global.sequence"])


def test_two_local_nodes_in_a_row_are_a_sequence(v1, assert_golden, tokens, local_text):
    first = local_text(tokens, v1.texts[0], anchor=v1.texts[1], control=v1.texts[1])
    second = local_text(first, v1.texts[3], (0.2, 0.4, 0.6, 0.8), scale=5.0, enhance=True, control=v1.texts[2])
    assert_golden(together(second), v1["local.sequence"])

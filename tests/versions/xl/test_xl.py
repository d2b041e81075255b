"""XL, base (`sdxl`) and with a background encoder (`xlv2`): parts, one pass, whole runs."""

from dataclasses import replace

import pytest
import torch
from golden_xl import assert_rows


def test_both_towers_see_the_reference_as_published(xl, tokens, assert_golden):
    assert_golden(torch.cat([tokens.cls, tokens.local], dim=1), xl["clip.tokens"])
    assert_golden(tokens.tagger, xl["wd.tokens"])


def test_the_tagger_is_given_the_published_pixels(pack, xl, assert_golden):
    pixels = pack.colorize_core.tagger.preprocess_for_tagger(xl.image("reference"))
    assert_golden(pixels[:, :, ::16, ::16], xl["wd.input_every16th"])


def test_the_sketch_encoder_gives_the_published_hints(xl, model, assert_golden):
    encoder = model.model.diffusion_model.control_encoder
    for name, sketch in ("hints", xl["sketch"]), ("blank_hints", torch.full_like(xl["sketch"], -1)):
        for k, hint in enumerate(encoder(sketch)):
            assert_golden(hint, xl[f"{name}.{k}"])


def test_the_token_mixer_gives_the_published_context(xl, model, assert_golden):
    assert_golden(model.model.diffusion_model.proj(xl["clip.tokens"], xl["wd.tokens"]), xl["context"])


def test_sizes_are_told_as_published(pack, xl, assert_golden):
    embeddings, config = pack.colorize_core.networks.embeddings, xl.config
    assert_golden(embeddings.canvas_embedding(*config["hw"]), xl["y"])
    if xl.variant == "xlv2":
        for name, size in ("bg_encoder.y", "refhw"), ("bg_encoder.y.background_picture", "bghw"):
            assert_golden(embeddings.background_embedding(config[size], config["hw"]), xl[name])


def test_eps_with_sketch_and_reference(xl, model, condition, eps, assert_golden):
    positive, no_reference, no_sketch = condition()
    assert_golden(eps(model, positive), xl["eps"])
    assert_golden(eps(model, no_reference), xl["eps.no_reference"])
    assert_golden(eps(model, no_sketch), xl["eps.no_sketch"])


def test_a_zeroed_conditioning_and_none_are_a_dropped_reference(xl, model, condition, core_node, eps, assert_golden):
    positive, *_ = condition()
    (zeroed,) = core_node("ConditioningZeroOut")(conditioning=positive)
    assert_golden(eps(model, zeroed), xl["eps.no_reference"])
    assert_golden(eps(model, [[None, positive[0][1]]]), xl["eps.no_reference"])


def test_each_sketch_strength_scales_its_map(xl, model, condition, eps, assert_golden):
    expected = xl["eps.sketch_strengths_0.6_1.4_0.3_0.9"]
    assert_golden(eps(model, condition(per_scale="0.6, 1.4, 0.3, 0.9")[0]), expected)
    assert_golden(eps(model, condition(strength=2.0, per_scale="0.3 0.7 0.15 0.45")[0]), expected)


def test_another_count_of_sketch_strengths_is_refused(model, condition, eps):
    with pytest.raises(ValueError, match="per_scale has 3 numbers: this model takes 4"):
        eps(model, condition(per_scale="1, 1, 1")[0])
    with pytest.raises(ValueError, match="per_scale: could not convert"):
        condition(per_scale="1, much")


STRENGTHS = [
    ("sdxl", {"strength": 0.55}, "eps.reference_strength_0.55"),
    ("sdxl", {"strength": 0.55, "encoder": 0.6}, "eps.reference_strength_0.55_encoder_0.6"),
    ("sdxl", {"strength": 1.0, "color": 0.3, "semantics": 0.3}, "eps"),
    ("xlv2", {"strength": 1.0, "encoder": 0.55, "semantics": 0.55}, "eps.reference_strength_0.55"),  # the app's levels
    ("xlv2", {"strength": 1.0, "encoder": 0.8, "semantics": 0.3}, "eps.levels_enc0.8_low0.3"),
    ("xlv2", {"strength": 1.0, "color": 0.3}, "eps"),
]


@pytest.mark.parametrize(("variant", "strengths", "name"), STRENGTHS)
def test_levels_of_reference_strength(xl, model, nodes, condition, eps, assert_golden, variant, strengths, name):
    if xl.variant != variant:
        pytest.skip("the other variant's levels")
    (patched,) = nodes("ReferenceStrength", model, **strengths)
    assert_golden(eps(patched, condition()[0]), xl[name])


def test_every_one_of_70_blocks_has_its_reference_strength(xl, model, nodes, condition, eps, assert_golden):
    per_block = ", ".join(map(str, torch.linspace(0.05, 0.95, 70).tolist()))
    (patched,) = nodes("ReferenceStrength", model, 1.0, per_block=per_block)
    assert_golden(eps(patched, condition()[0]), xl["eps.per_block_linspace_0.05_0.95"])
    with pytest.raises(ValueError, match="per_block has 16 numbers: this model takes 70"):
        nodes("ReferenceStrength", model, 1.0, per_block="1 " * 16)


@pytest.mark.parametrize(("guidances", "name"), [((True, False), "reference"), ((False, True), "sketch"), (2, "dual")])
def test_guidance(xl, model, nodes, condition, predict, assert_golden, guidances, name):
    reference, sketch = xl.config["g"]
    scales = (reference, sketch) if guidances == 2 else (reference if guidances[0] else 1.0, sketch * guidances[1] or 1)
    (guider,) = nodes("Guider", model, *condition(), *scales)
    assert_golden(predict(guider), xl[f"cfg.{name}"])


@pytest.mark.parametrize(("fidelity", "control"), [(0.3, 0.7), (0.5, 0.0)])
def test_injection(xl, inject, condition, eps, assert_golden, fidelity, control):
    name = f"eps.injection_f{fidelity}_ctl{control}"
    assert_rows(xl, eps, assert_golden, inject(fidelity, control), condition(), name)


@pytest.mark.parametrize("prediction", ["eps", "v"])
@pytest.mark.parametrize("dual", [False, True])
def test_whole_runs(xl, nodes, checkpoint_name, with_figure, condition, assert_golden, prediction, dual):
    import comfy.samplers

    model = nodes("LoadCheckpoint", checkpoint_name, prediction)[0]
    reference, sketch = xl.config["g"]
    conditionings = condition() if xl.variant == "sdxl" else condition(with_figure())
    (guider,) = nodes("Guider", model, *conditionings, reference, sketch if dual else 1.0)
    sigmas, noise = xl["sample.sigmas"], xl["noise"]
    # The host starts from a larger noise where the first sigma is the schedule's largest.
    largest = model.get_model_object("model_sampling").sigma_max
    if torch.isclose(sigmas[0], largest, rtol=1e-5):
        noise = noise * sigmas[0] / (1 + sigmas[0] ** 2) ** 0.5
    out = guider.sample(noise, torch.zeros_like(noise), comfy.samplers.sampler_object("euler"), sigmas)
    name = f"dual{reference}_{sketch}" if dual else f"cfg{reference}"
    out = guider.model_patcher.model.process_latent_in(out)
    background = "" if xl.variant == "sdxl" else ".background"
    assert_golden(out, xl[f"sample.{prediction}.euler.uniform.4.{name}{background}"], 1e-3)


def test_tokens_without_a_tagger_are_refused(nodes, xl, model, towers, condition, eps):
    (plain,) = nodes("EncodeReference", towers["clip_vision"], xl.image("reference"))
    if plain.local.shape[-1] == xl.config["ctx"]:  # these would do for a context
        plain = replace(plain, cls=plain.cls.repeat(1, 1, 2), local=plain.local.repeat(1, 1, 2))
    with pytest.raises(ValueError, match="conditioning: XL looks at a reference through a tagger too"):
        eps(model, condition(plain)[0])


def test_tokens_of_other_towers_are_refused(pack, xl, model, tokens, condition, eps):
    half = replace(tokens, cls=tokens.cls[..., :32], local=tokens.local[..., :32])
    with pytest.raises(ValueError, match=r"its tokens are 32 wide.*with the CLIP that belongs"):
        eps(model, condition(half)[0])
    with pytest.raises(ValueError, match=r"its tokens are 32 wide.*with the tagger that belongs"):
        eps(model, condition(replace(tokens, tagger=tokens.tagger[..., :32]))[0])


def test_words_do_not_change_a_reference_with_a_tagger(nodes, tokens, tiny_clip):
    clip = nodes("LoadCLIP", tiny_clip)[1]
    with pytest.raises(ValueError, match="tokens: they were made with a tagger, for XL"):
        nodes("GlobalText", tokens, clip, "red hair", "", 5.0, False, "penultimate")


def test_a_region_has_a_reference_of_two_towers_too(xl, model, nodes, tokens, towers, condition, eps, assert_golden):
    (other,) = nodes("EncodeReference", image=xl.image("background"), **towers)
    height, width = xl.config["hw"]
    everywhere, half = torch.ones(1, height, width), torch.zeros(1, height, width)
    half[..., width // 2 :] = 1
    (whole,) = nodes("RegionReference", tokens, other, everywhere, 1.0)
    (part,) = nodes("RegionReference", tokens, other, half, 1.0)
    alone = eps(model, condition(other)[0])
    assert_golden(eps(model, condition(whole)[0]), alone)
    shared = eps(model, condition(part)[0])
    assert (shared - alone).abs().max() > 0.01 and (shared - xl["eps"]).abs().max() > 0.01
    assert_golden(eps(model, condition(part)[1]), xl["eps.no_reference"])

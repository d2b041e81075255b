"""The Colorize node: what it is made of, what it depends on, batches, and latents of every kind."""

import pytest
import torch
from small import SIZE, STEPS, empty_latent, rand


@pytest.mark.parametrize("guidances", [(4.0, 1.0), (4.0, 2.0), (1.0, 1.0)])
@pytest.mark.parametrize("changes", ["nothing", "denoise", "noise mask"])
def test_colorize_is_guider_and_sampler_custom_advanced_bit_for_bit(
    node, core_node, model, tokens, sketch, condition, colorize, guidances, changes
):
    latent, denoise = empty_latent(), 1.0
    if changes == "denoise":
        latent, denoise = {"samples": rand(1, 4, SIZE, SIZE)}, 0.6
    if changes == "noise mask":
        mask = torch.zeros(1, 8 * SIZE, 8 * SIZE)
        mask[:, : 4 * SIZE] = 1
        latent = {"samples": rand(1, 4, SIZE, SIZE), "noise_mask": mask}

    guider = node("Guider").execute(model, *condition(tokens(), sketch()), *guidances).result[0]
    expected = core_node("SamplerCustomAdvanced")(
        noise=core_node("RandomNoise")(noise_seed=1)[0],
        guider=guider,
        sampler=core_node("KSamplerSelect")(sampler_name="dpmpp_2m")[0],
        sigmas=core_node("BasicScheduler")(model=model, scheduler="karras", steps=STEPS, denoise=denoise)[0],
        latent_image=latent,
    )[0]["samples"]
    actual = colorize(
        latent=latent,
        denoise=denoise,
        reference_guidance=guidances[0],
        sketch_guidance=guidances[1],
        sampler_name="dpmpp_2m",
        scheduler="karras",
    )
    assert torch.equal(actual, expected)


def test_every_input_counts(colorize, tokens, sketch):
    base = colorize()
    assert torch.equal(base, colorize())
    changes = [
        {"tokens": tokens(seed=1)},
        {"sketch": sketch(seed=1)},
        {"sketch": sketch(strength=0.5)},
        {"seed": 2},
        {"reference_guidance": 5.0},
        {"sketch_guidance": 2.0},
        {"end_percent": 0.5},
    ]
    for change in changes:
        assert not torch.allclose(base, colorize(**change), atol=1e-2), change


def test_a_noise_mask_keeps_what_it_does_not_cover(colorize):
    samples = rand(1, 4, SIZE, SIZE)
    mask = torch.zeros(1, 8 * SIZE, 8 * SIZE)
    mask[:, : 4 * SIZE] = 1
    out = colorize(latent={"samples": samples, "noise_mask": mask})
    torch.testing.assert_close(out[..., SIZE // 2 :, :], samples[..., SIZE // 2 :, :])
    assert not torch.allclose(out[..., : SIZE // 2, :], samples[..., : SIZE // 2, :], atol=1e-2)


# Batches


def test_batch_2_is_two_runs_of_batch_1(node, model, tokens, sketch, condition, sample_noise, assert_golden):
    noise = rand(2, 4, SIZE, SIZE)
    guider = node("Guider").execute(model, *condition(tokens(), sketch()), 4.0, 2.0).result[0]
    both = sample_noise(guider, noise)
    assert_golden(both, torch.cat([sample_noise(guider, noise[:1]), sample_noise(guider, noise[1:])]))


def test_two_sketches_and_references_in_a_batch_each_keep_their_own(
    node, model, tokens, sketch, condition, sample_noise, assert_golden
):
    noise = rand(2, 4, SIZE, SIZE)
    references, sketches = tokens(batch=2), sketch(batch=2)
    guider = node("Guider").execute(model, *condition(references, sketches), 4.0, 2.0).result[0]
    both = sample_noise(guider, noise)
    for i in range(2):
        one = slice(i, i + 1)
        reference = type(references)(cls=references.cls[one], local=references.local[one])
        drawing = type(sketches)(sketches.pixels[one], sketches.strength)
        single = node("Guider").execute(model, *condition(reference, drawing), 4.0, 2.0).result[0]
        assert_golden(both[one], sample_noise(single, noise[one]))


def test_fewer_sketches_and_references_than_latents_repeat_in_turn(
    node, model, tokens, sketch, condition, sample_noise, assert_golden
):
    noise = rand(1, 4, SIZE, SIZE).repeat(3, 1, 1, 1)
    guider = node("Guider").execute(model, *condition(tokens(batch=2), sketch(batch=2)), 4.0, 1.0).result[0]
    first, second, third = sample_noise(guider, noise).split(1)
    assert_golden(third, first)
    assert not torch.allclose(second, first, atol=1e-2)


def test_more_sketches_than_latents_are_left_out(colorize, sketch, assert_golden):
    three = sketch(batch=3)
    assert_golden(colorize(sketch=three), colorize(sketch=type(three)(three.pixels[:1])))


# Latents


def test_a_latent_of_another_vae_is_refused(colorize):
    with pytest.raises(ValueError, match="latent: 16 channels where the model's have 4"):
        colorize(latent={"samples": rand(1, 16, SIZE, SIZE)})


def test_odd_latent_sizes_work(colorize):
    assert colorize(latent={"samples": torch.zeros(1, 4, 5, 9)}).shape == (1, 4, 5, 9)


def test_a_latent_that_is_no_picture_is_refused(colorize):
    with pytest.raises(ValueError, match="latent: 5 dimensions"):
        colorize(latent={"samples": torch.zeros(1, 4, 1, SIZE, SIZE)})


def test_a_model_that_is_not_ours_is_refused(node, condition, colorize, tokens, sketch):
    """Sampled, it would leave the sketch out without a word."""
    import comfy.model_patcher

    other = comfy.model_patcher.ModelPatcher(torch.nn.Linear(1, 1), torch.device("cpu"), torch.device("cpu"))
    for use in (
        lambda: node("ReferenceStrength").execute(other, 0.5),
        lambda: node("Guider").execute(other, *condition(tokens(), sketch()), 4.0, 1.0),
        lambda: colorize(model=other),
    ):
        with pytest.raises(ValueError, match="no ColorizeDiffusion model"):
            use()

"""Sampling in the real ComfyUI: our nodes, the stock samplers, and what the rest of ComfyUI does to a model.

The small golden model on 64x64 pictures; every run is two or three steps.
"""

import pytest
import torch

STEPS = 2
SIZE = 8  # of the latent
WIDTH = 64  # of a token


def rand(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def tokens(pack):
    """`tokens(seed, batch)`: reference tokens of random content."""
    build = pack.colorize_core.tokens.ReferenceTokens
    return lambda seed=0, batch=1: build(cls=rand(batch, 1, WIDTH, seed=seed), local=rand(batch, 16, WIDTH, seed=seed))


@pytest.fixture
def sketch(pack):
    """`sketch(seed, batch, size)`: a sketch of random dots; `size` is the latent's."""

    def build(seed=0, batch=1, size=SIZE, strength=1.0):
        pixels = (rand(batch, 3, 8 * size, 8 * size, seed=100 + seed) > 1).float() * 2 - 1
        return pack.colorize_core.sketch.Sketch(pixels, strength)

    return build


def empty_latent(batch=1, size=SIZE):
    return {"samples": torch.zeros(batch, 4, size, size)}


@pytest.fixture
def condition(node):
    """`condition(tokens, sketch)`: positive, no_reference, no_sketch."""
    return lambda *args, **kwargs: node("Conditioning").execute(*args, **kwargs).result


@pytest.fixture
def colorize(node, model, tokens, sketch):
    """`colorize(...)`: the Colorize node's latent, with small defaults for what is not given."""

    def run(**inputs):
        defaults = {
            "model": model,
            "tokens": tokens(),
            "sketch": sketch(),
            "latent": empty_latent(),
            "seed": 1,
            "steps": STEPS,
            "reference_guidance": 4.0,
            "sketch_guidance": 1.0,
            "sampler_name": "euler",
            "scheduler": "normal",
            "denoise": 1.0,
        }
        return node("Sampler").execute(**defaults | inputs).result[0]["samples"]

    return run


@pytest.fixture
def ksampler(core_node, model, condition, tokens, sketch):
    """`ksampler(...)`: the stock KSampler's latent on our model and conditioning."""

    def run(**inputs):
        positive, no_reference, _ = condition(tokens(), sketch())
        defaults = {
            "model": model,
            "seed": 1,
            "steps": STEPS,
            "cfg": 4.0,
            "sampler_name": "euler",
            "scheduler": "normal",
            "positive": positive,
            "negative": no_reference,
            "latent_image": empty_latent(),
        }
        return core_node("KSampler")(**defaults | inputs)[0]["samples"]

    return run


@pytest.fixture
def sample_noise(model, core_node):
    """`sample_noise(guider, noise)`: sampled from this very noise, to compare batches with single runs."""

    def run(guider, noise):
        import comfy.samplers

        sigmas = core_node("BasicScheduler")(model=model, scheduler="normal", steps=STEPS, denoise=1.0)[0]
        return guider.sample(noise, torch.zeros_like(noise), comfy.samplers.sampler_object("euler"), sigmas)

    return run


# The Colorize node


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


def test_reference_guidance_alone_is_the_stock_sampler_with_that_cfg(colorize, ksampler):
    assert torch.equal(colorize(), ksampler())


@pytest.mark.parametrize(("guidances", "rows"), [((1.0, 1.0), 1), ((4.0, 1.0), 2), ((1.0, 2.0), 2), ((4.0, 2.0), 3)])
def test_a_guidance_of_1_costs_nothing(model, colorize, guidances, rows):
    seen = []

    def count(apply_model, arguments):
        seen.append(len(arguments["input"]))
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    counted = model.clone()
    counted.set_model_unet_function_wrapper(count)
    settings = {"steps": 1, "reference_guidance": guidances[0], "sketch_guidance": guidances[1]}
    colorize(model=counted, **settings)
    assert sum(seen) == rows

    seen.clear()
    counted.set_model_sampler_post_cfg_function(lambda args: args["denoised"], disable_cfg1_optimization=True)
    colorize(model=counted, **settings)
    assert sum(seen) == max(rows, 2)  # the patch asks for an unconditional


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


# What a conditioning may be


def test_conditioning_without_our_keys_means_no_sketch_and_these_tokens(ksampler, condition, tokens, sketch):
    _, _, no_sketch = condition(tokens(), sketch())
    plain = [[tokens().local, {}]]
    assert torch.equal(ksampler(positive=plain, cfg=1.0), ksampler(positive=no_sketch, cfg=1.0))


def test_conditioning_of_nothing_is_a_dropped_reference(core_node, ksampler, condition, tokens, sketch, assert_golden):
    positive, no_reference, no_sketch = condition(tokens(), sketch())
    zeroed = core_node("ConditioningZeroOut")(conditioning=positive)[0]
    assert torch.equal(ksampler(negative=zeroed), ksampler(negative=no_reference))
    blank = core_node("ConditioningZeroOut")(conditioning=no_sketch)[0]
    assert_golden(ksampler(negative=[[None, {}]]), ksampler(negative=blank))


def test_a_latent_of_another_size_gets_the_sketch_resized(colorize, sketch):
    out = colorize(latent=empty_latent(size=2 * SIZE))
    assert out.shape[2:] == (2 * SIZE, 2 * SIZE)
    small = sketch()
    assert not torch.allclose(out, colorize(latent=empty_latent(size=2 * SIZE), sketch=sketch(1)), atol=1e-2)
    doubled = torch.nn.functional.interpolate(small.pixels, scale_factor=2.0, mode="bilinear")
    torch.testing.assert_close(
        out, colorize(latent=empty_latent(size=2 * SIZE), sketch=type(small)(doubled)), atol=1e-3, rtol=1e-3
    )


def test_a_latent_of_another_aspect_than_the_sketch_is_refused(colorize, ksampler, condition, tokens, sketch):
    wide = {"samples": torch.zeros(1, 4, 16, 32)}
    positive, no_reference, _ = condition(tokens(), sketch())
    for use in (
        lambda: colorize(latent=wide),
        lambda: ksampler(positive=positive, negative=no_reference, latent_image=wide),
    ):
        with pytest.raises(ValueError, match=r"latent: .* 256x128 pixels, of another aspect .* sketch \(64x64\)"):
            use()


def test_a_latent_of_another_vae_is_refused(colorize):
    with pytest.raises(ValueError, match="latent: 16 channels where the model's have 4"):
        colorize(latent={"samples": rand(1, 16, SIZE, SIZE)})


def test_a_sketch_of_a_single_pixel_colors(pack, colorize):
    dot = pack.colorize_core.sketch.Sketch(torch.ones(1, 3, 1, 1))
    assert colorize(sketch=dot).isfinite().all()


@pytest.mark.parametrize("guidances", [(4.0, 1.0), (4.0, 2.0)])
def test_a_sketch_is_encoded_before_the_first_step_and_not_again(model, colorize, guidances):
    calls = []
    hook = model.model.diffusion_model.control_encoder.register_forward_hook(lambda *_: calls.append(1))
    try:
        counts = []
        for steps in (2, 6):
            calls.clear()
            colorize(steps=steps, reference_guidance=guidances[0], sketch_guidance=guidances[1])
            counts.append(len(calls))
    finally:
        hook.remove()
    assert counts[0] == counts[1] == 3  # for each conditioning of the run


def test_odd_latent_sizes_work(colorize):
    assert colorize(latent={"samples": torch.zeros(1, 4, 5, 9)}).shape == (1, 4, 5, 9)


def test_tokens_of_another_clip_are_refused(pack, colorize):
    other = pack.colorize_core.tokens.ReferenceTokens(cls=rand(1, 1, 96), local=rand(1, 16, 96))
    with pytest.raises(ValueError, match="96 wide and the model takes 64"):
        colorize(tokens=other)


def test_a_latent_that_is_no_picture_is_refused(colorize):
    with pytest.raises(ValueError, match="latent: 5 dimensions"):
        colorize(latent={"samples": torch.zeros(1, 4, 1, SIZE, SIZE)})


def test_an_interval_that_ends_before_it_starts_is_refused(condition, tokens, sketch):
    with pytest.raises(ValueError, match=r"start_percent \(0.8\) lies after end_percent \(0.2\)"):
        condition(tokens(), sketch(), start_percent=0.8, end_percent=0.2)


@pytest.mark.parametrize(("percents", "counts"), [((0.3, 0.6), True), ((0.6, 1.0), False), ((0.0, 0.4), False)])
def test_outside_its_interval_the_reference_is_zero(
    core_node, model, tokens, sketch, condition, percents, counts, assert_golden
):
    """One pass in the middle of the run."""
    import comfy.samplers

    sigma = model.get_model_object("model_sampling").percent_to_sigma(0.5)

    def one_pass(network, noise, sigmas, extra_args, callback, disable):
        return network(rand(1, 4, SIZE, SIZE), torch.tensor([sigma]), **extra_args)

    def denoised(conditioning):
        guider = core_node("BasicGuider")(model=model, conditioning=conditioning)[0]
        latent = torch.zeros(1, 4, SIZE, SIZE)
        return guider.sample(latent, latent, comfy.samplers.KSAMPLER(one_pass), torch.tensor([sigma, 0.0]))

    positive, no_reference, _ = condition(tokens(), sketch())
    limited = condition(tokens(), sketch(), *percents)[0]
    assert_golden(denoised(limited), denoised(positive if counts else no_reference))


def test_a_cls_model_takes_the_cls_token(node, host, tiny_checkpoint, ksampler, core_node, condition, tokens, sketch):
    cls_model = node("LoadCheckpoint").execute(tiny_checkpoint, token_type="cls").result[0]
    positive, no_reference, _ = condition(tokens(), sketch())
    by_hand = [[positive[0][1]["colorize_cls"], positive[0][1]]]
    nothing = [[no_reference[0][1]["colorize_cls"], no_reference[0][1]]]
    assert torch.equal(ksampler(model=cls_model, positive=positive), ksampler(positive=by_hand, negative=nothing))
    zeroed = core_node("ConditioningZeroOut")(conditioning=positive)[0]
    assert torch.equal(
        ksampler(model=cls_model, negative=zeroed), ksampler(model=cls_model, negative=no_reference)
    )  # although zeroing leaves the CLS token where it is


def test_a_cls_model_drops_the_reference_of_the_rows_that_have_none(
    node, tiny_checkpoint, ksampler, condition, tokens, sketch, assert_golden
):
    cls_model = node("LoadCheckpoint").execute(tiny_checkpoint, token_type="cls").result[0]
    one, dropped, _ = condition(tokens(), sketch())
    both = [
        [torch.cat([one[0][0], dropped[0][0]]), one[0][1] | {"colorize_cls": one[0][1]["colorize_cls"].repeat(2, 1, 1)}]
    ]
    latent = {"samples": rand(1, 4, SIZE, SIZE).repeat(2, 1, 1, 1)}
    settings = {"model": cls_model, "cfg": 1.0, "latent_image": latent}
    out = ksampler(positive=both, **settings)
    assert_golden(out[:1], ksampler(positive=one, **settings)[:1])
    assert_golden(out[1:], ksampler(positive=dropped, **settings)[1:])


# Timesteps


def test_a_sigma_between_two_steps_has_a_timestep_between_them(model):
    sampling = model.get_model_object("model_sampling")
    t = torch.tensor([0.0, 0.25, 412.3, 931.0, 998.75, 999.0])
    torch.testing.assert_close(sampling.timestep(sampling.sigma(t)), t, atol=2e-3, rtol=0)
    beyond = torch.tensor([0.0, 1e-6, 1e6])
    assert sampling.timestep(beyond).tolist() == [0, 0, 999]
    assert sampling.timestep(sampling.sigma_max) == 999


def test_model_sampling_discrete_brings_its_own_timesteps(core_node, model):
    other = core_node("ModelSamplingDiscrete")(model=model, sampling="v_prediction", zsnr=False)[0]
    sampling = other.get_model_object("model_sampling")
    assert sampling.timestep(sampling.sigma(torch.tensor([412.3]))) == 412


# The rest of ComfyUI


def test_stock_guiders_and_samplers_take_our_conditioning(core_node, model, tokens, sketch, condition, ksampler):
    positive, no_reference, no_sketch = condition(tokens(), sketch())
    advanced = core_node("KSamplerAdvanced")(
        model=model,
        add_noise="enable",
        noise_seed=1,
        steps=STEPS,
        cfg=4.0,
        sampler_name="euler",
        scheduler="normal",
        positive=positive,
        negative=no_reference,
        latent_image=empty_latent(),
        start_at_step=0,
        end_at_step=10000,
        return_with_leftover_noise="disable",
    )[0]["samples"]
    assert torch.equal(advanced, ksampler())

    def custom(guider):
        return core_node("SamplerCustomAdvanced")(
            noise=core_node("RandomNoise")(noise_seed=1)[0],
            guider=guider,
            sampler=core_node("KSamplerSelect")(sampler_name="euler")[0],
            sigmas=core_node("BasicScheduler")(model=model, scheduler="normal", steps=STEPS, denoise=1.0)[0],
            latent_image=empty_latent(),
        )[0]["samples"]

    cfg = core_node("CFGGuider")(model=model, positive=positive, negative=no_reference, cfg=4.0)[0]
    assert torch.equal(custom(cfg), ksampler())
    dual = core_node("DualCFGGuider")(
        model=model,
        cond1=positive,
        cond2=no_sketch,
        negative=no_reference,
        cfg_conds=3.0,
        cfg_cond2_negative=2.5,
        style="regular",
    )[0]
    assert not torch.allclose(custom(dual), ksampler(), atol=1e-2)


def test_dual_guidance_is_the_stock_dual_guider_at_remapped_scales(
    node, core_node, model, tokens, sketch, condition, sample_noise, assert_golden
):
    positive, no_reference, no_sketch = condition(tokens(), sketch())
    ours = node("Guider").execute(model, positive, no_reference, no_sketch, 5.0, 3.0).result[0]
    stock = core_node("DualCFGGuider")(
        model=model,
        cond1=positive,
        cond2=no_sketch,
        negative=no_reference,
        cfg_conds=(5.0 + 3.0) / 2,
        cfg_cond2_negative=(1 + 5.0) / 2,
        style="regular",
    )[0]
    noise = rand(1, 4, SIZE, SIZE)
    assert_golden(sample_noise(ours, noise), sample_noise(stock, noise), 1e-3)


PATCHES = {
    "FreeU_V2": {"b1": 1.3, "b2": 1.4, "s1": 0.9, "s2": 0.2},
    "PerturbedAttentionGuidance": {"scale": 3.0},
    "RescaleCFG": {"multiplier": 0.7},
    "EasyCache": {"reuse_threshold": 3.0, "start_percent": 0.0, "end_percent": 1.0, "verbose": False},
    "ModelSamplingDiscrete": {"sampling": "v_prediction", "zsnr": False},
    "PatchModelAddDownscale": {
        "block_number": 3,
        "downscale_factor": 2.0,
        "start_percent": 0.0,
        "end_percent": 1.0,
        "downscale_after_skip": False,
        "downscale_method": "bicubic",
        "upscale_method": "bicubic",
    },
    "CFGOverride": {"cfg": 2.0, "start_percent": 0.0, "end_percent": 1.0},
    "SelfAttentionGuidance": {"scale": 0.5, "blur_sigma": 2.0},
}


@pytest.fixture(scope="module")
def unpatched():
    """The picture without a patch, made once."""
    return {}


@pytest.mark.parametrize("name", PATCHES)
def test_stock_model_patches_work_and_change_the_picture(core_node, model, colorize, sketch, unpatched, name):
    settings = {
        "sketch_guidance": 2.0,
        "steps": 3,
        "sketch": sketch(size=2 * SIZE),
        "latent": empty_latent(size=2 * SIZE),  # some of them divide by zero where the network's middle is one pixel
    }
    if "base" not in unpatched:
        unpatched["base"] = colorize(**settings)
    out = colorize(model=core_node(name)(model=model, **PATCHES[name])[0], **settings)
    assert out.isfinite().all() and not torch.allclose(out, unpatched["base"], atol=1e-2)


@pytest.mark.parametrize("sampler_name", ["euler_cfg_pp", "dpmpp_2m_sde", "uni_pc", "lcm", "ddim"])
def test_samplers_of_every_kind(colorize, sampler_name):
    assert colorize(sampler_name=sampler_name, sketch_guidance=2.0, steps=3).isfinite().all()
    assert colorize(sampler_name=sampler_name, reference_guidance=1.0, steps=3).isfinite().all()


def test_differential_diffusion_follows_a_soft_mask(core_node, model, colorize):
    mask = torch.linspace(0, 1, 8 * SIZE).expand(1, 8 * SIZE, 8 * SIZE)
    latent = {"samples": rand(1, 4, SIZE, SIZE), "noise_mask": mask}
    patched = core_node("DifferentialDiffusion")(model=model, strength=1.0)[0]
    soft, hard = colorize(model=patched, latent=latent, steps=4), colorize(latent=latent, steps=4)
    assert soft.isfinite().all() and not torch.allclose(soft, hard, atol=1e-3)


@pytest.mark.parametrize("offset", [0, 24])
def test_an_area_colors_its_part_of_the_picture(core_node, ksampler, condition, tokens, sketch, offset):
    big = {"latent_image": empty_latent(size=2 * SIZE)}
    positive, no_reference, _ = condition(tokens(), sketch(size=2 * SIZE))
    other = condition(tokens(seed=5), sketch(size=2 * SIZE))[0]
    area = core_node("ConditioningSetArea")(conditioning=other, width=72, height=64, x=offset, y=offset, strength=1.0)[
        0
    ]
    out = ksampler(positive=positive + area, negative=no_reference, **big)
    base = ksampler(positive=positive, negative=no_reference, **big)
    assert out.isfinite().all() and not torch.allclose(out, base, atol=1e-2)


def test_a_mask_colors_its_part_of_the_picture(core_node, ksampler, condition, tokens, sketch):
    mask = torch.zeros(1, 8 * SIZE, 8 * SIZE)
    mask[..., : 4 * SIZE] = 1.0
    positive, no_reference, _ = condition(tokens(), sketch())
    other = condition(tokens(seed=5), sketch())[0]

    def masked(conditioning, mask):
        set_mask = core_node("ConditioningSetMask")
        return set_mask(conditioning=conditioning, mask=mask, strength=1.0, set_cond_area="default")[0]

    parts = masked(positive, 1 - mask) + masked(other, mask)
    one_step = {"negative": no_reference, "steps": 1, "cfg": 1.0}
    out, left, right = (ksampler(positive=c, **one_step) for c in (parts, other, positive))
    half = SIZE // 2
    torch.testing.assert_close(out[..., :half], left[..., :half], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(out[..., half:], right[..., half:], atol=1e-3, rtol=1e-3)
    assert not torch.allclose(left, right, atol=1e-2)


def test_hints_are_cropped_with_an_area_to_the_sizes_the_network_has_there(pack):
    hint = pack.colorize_core.host.hints.CONDHint
    latent = torch.arange(20.0)[None, None, :, None].expand(1, 1, 20, 20)
    for downscale in (1, 2, 4, 8):
        side = -(-20 // downscale)
        whole = hint(latent[:, :, :side, :side], downscale)
        for top in range(12):
            for size in range(1, 20 - top + 1):
                cropped = whole.process_cond(batch_size=3, area=(size, 7, top, 13)).cond
                assert cropped.shape == (3, 1, -(-size // downscale), -(-7 // downscale))
                assert cropped[0, 0, 0, 0] == top // downscale


def test_conditioning_average_blends_two_references(core_node, ksampler, condition, tokens, sketch):
    first, second = condition(tokens(), sketch())[0], condition(tokens(seed=5), sketch())[0]
    blend = core_node("ConditioningAverage")(
        conditioning_to=first, conditioning_from=second, conditioning_to_strength=0.5
    )[0]
    by_hand = [[(first[0][0] + second[0][0]) / 2, first[0][1]]]
    torch.testing.assert_close(ksampler(positive=blend), ksampler(positive=by_hand), atol=1e-3, rtol=1e-3)


LORA_KEYS = {
    "diffusers": (
        "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.processor.to_q_lora.{}.weight",
        ("down", "up"),
    ),
    "kohya": (
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_q.lora_{}.weight",
        ("down", "up"),
    ),
    "kohya of the original names": (
        "lora_unet_input_blocks_1_1_transformer_blocks_0_attn2_to_q.lora_{}.weight",
        ("down", "up"),
    ),
    "kohya, linear proj_in of SD 2.1": ("lora_unet_down_blocks_0_attentions_0_proj_in.lora_{}.weight", ("down", "up")),
}


@pytest.mark.parametrize("naming", LORA_KEYS)
def test_loras_of_sd_2_1_change_the_picture(model, colorize, naming):
    import comfy.sd

    key, (down, up) = LORA_KEYS[naming]
    lora = {key.format(down): rand(4, 32), key.format(up): rand(32, 4)}
    patched, _ = comfy.sd.load_lora_for_models(model, None, lora, 1.0, 0.0)
    base = colorize()
    assert not torch.allclose(colorize(model=patched), base, atol=1e-3)
    assert torch.equal(colorize(), base)


@pytest.fixture(scope="module")
def control_net(model):
    """A ControlNet of the model's shape, with random weights."""
    import comfy.cldm.cldm
    import comfy.controlnet
    import comfy.ops

    config = {key: value for key, value in model.model.model_config.unet_config.items() if key != "out_channels"}
    config |= {"hint_channels": 3, "dtype": torch.float32, "operations": comfy.ops.disable_weight_init}
    network = comfy.cldm.cldm.ControlNet(**config)
    for i, parameter in enumerate(network.parameters()):
        parameter.data = rand(*parameter.shape, seed=i) * 0.02
    return comfy.controlnet.ControlNet(network, load_device=torch.device("cpu"))


def test_a_control_net_adds_to_the_sketch(core_node, control_net, ksampler, condition, tokens, sketch):
    def controlled(sketch):
        positive, no_reference, _ = condition(tokens(), sketch)
        positive, negative = core_node("ControlNetApplyAdvanced")(
            positive=positive,
            negative=no_reference,
            control_net=control_net,
            image=rand(1, 8 * SIZE, 8 * SIZE, 3).clamp(0, 1),
            strength=1.0,
            start_percent=0.0,
            end_percent=1.0,
        )
        return ksampler(positive=positive, negative=negative)

    assert not torch.allclose(controlled(sketch()), ksampler(), atol=1e-3)
    assert not torch.allclose(controlled(sketch()), controlled(sketch(seed=1)), atol=1e-3)


def test_control_and_hints_add_up(model):
    """At a hint's block the network sees its output + control + hint, in whichever way the two are shared out."""
    unet = model.model.diffusion_model
    x, t, context = rand(1, 4, SIZE, SIZE), torch.tensor([500.0]), rand(1, 16, WIDTH)
    hints = unet.control_encoder(rand(1, 3, 8 * SIZE, 8 * SIZE))
    residual = rand(1, 32, SIZE, SIZE)
    control = {"input": [*[None] * 11, residual]}  # its last entry belongs to the first block
    names = [f"hint_{k}" for k in range(5)]
    both = unet(x, t, context=context, control=control, **dict(zip(names, hints, strict=True)))
    added = unet(x, t, context=context, **dict(zip(names, [hints[0] + residual, *hints[1:]], strict=True)))
    torch.testing.assert_close(both, added, atol=1e-4, rtol=1e-4)


def test_reference_strength_leaves_other_attention_patches_at_work(node, model, colorize):
    weakened = node("ReferenceStrength").execute(model, 0.5).result[0]
    flipped = weakened.clone()
    flipped.set_model_attn2_patch(lambda query, context, value, options: (query, context, -value))
    outputs = [colorize(model=m) for m in (model, weakened, flipped)]
    assert not torch.allclose(outputs[0], outputs[1], atol=1e-3)
    assert not torch.allclose(outputs[1], outputs[2], atol=1e-3)


def test_reference_strength_zero_is_no_reference(node, model, ksampler, condition, tokens, sketch, assert_golden):
    none = node("ReferenceStrength").execute(model, 0.0).result[0]
    _, no_reference, _ = condition(tokens(), sketch())
    assert_golden(ksampler(model=none, cfg=1.0), ksampler(positive=no_reference, cfg=1.0))


def test_a_later_reference_strength_replaces_an_earlier_one(node, model, colorize):
    strength = node("ReferenceStrength").execute
    twice = strength(strength(model, 0.2).result[0], 0.5).result[0]
    assert torch.equal(colorize(model=twice), colorize(model=strength(model, 0.5).result[0]))


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


def test_reference_strength_may_change_after_compiling(pack, small_config, assert_golden):
    """Compiled as the stock node does it, which never looks at transformer_options again; two levels for speed."""
    import comfy.ops
    from comfy_extras.nodes_torch_compile import skip_torch_compile_dict

    unet = pack.colorize_core.host.unet.ColorizeUNet(
        config=small_config(blocks=(0, 2), downscales=(1, 2)),
        image_size=32,
        in_channels=4,
        out_channels=4,
        model_channels=32,
        channel_mult=(1, 1),
        num_res_blocks=[1, 1],
        num_head_channels=16,
        use_spatial_transformer=True,
        context_dim=WIDTH,
        transformer_depth=[1, 0],
        transformer_depth_middle=-1,
        transformer_depth_output=[1, 0, 0, 0],
        operations=comfy.ops.disable_weight_init,
    )
    for i, parameter in enumerate(unet.parameters()):
        parameter.data = rand(*parameter.shape, seed=i) * 0.2
    compiled = torch.compile(unet, backend="eager", options={"guard_filter_fn": skip_torch_compile_dict})

    inputs = rand(1, 4, SIZE, SIZE), torch.tensor([500.0]), rand(1, 16, WIDTH)
    hints = {"hint_0": rand(1, 32, SIZE, SIZE), "hint_1": rand(1, 32, SIZE // 2, SIZE // 2)}
    outputs = []
    for strength in (0.3, 1.7):
        keywords = hints | {"reference_strength": torch.full((16,), strength), "transformer_options": {}}
        outputs.append(compiled(*inputs, **keywords))
        assert_golden(outputs[-1], unet(*inputs, **keywords))
    assert not torch.allclose(*outputs, atol=1e-3)


# Through the executor: progress, previews, caching, interruption


@pytest.fixture
def prompt(pack, host, tiny_checkpoint, tokens, sketch, monkeypatch):
    """An API-format prompt that loads the model and colors."""

    class Source:
        INPUT_TYPES = classmethod(lambda cls: {"required": {}})
        RETURN_TYPES = ("COLORIZE_TOKENS", "COLORIZE_SKETCH")
        FUNCTION = "give"
        CATEGORY = "tests"

        def give(self):
            return tokens(), sketch()

    monkeypatch.setitem(host.NODE_CLASS_MAPPINGS, "TestReferenceAndSketch", Source)

    def build(steps=STEPS):
        return {
            "1": {
                "class_type": "ColorizeDiffusion_LoadCheckpoint",
                "inputs": {"ckpt_name": tiny_checkpoint, "prediction": "auto", "token_type": "attention"},
            },
            "2": {"class_type": "TestReferenceAndSketch", "inputs": {}},
            "3": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
            "4": {
                "class_type": "ColorizeDiffusion_Sampler",
                "inputs": {
                    "model": ["1", 0],
                    "tokens": ["2", 0],
                    "sketch": ["2", 1],
                    "latent": ["3", 0],
                    "seed": 1,
                    "steps": steps,
                    "reference_guidance": 4.0,
                    "sketch_guidance": 1.0,
                    "sampler_name": "euler",
                    "scheduler": "normal",
                    "denoise": 1.0,
                    "start_percent": 0.0,
                    "end_percent": 1.0,
                },
            },
            "5": {"class_type": "Capture", "inputs": {"value": ["4", 0]}},
        }

    return build


def test_queueing_the_same_prompt_twice_runs_nothing_again(run_prompt, prompt):
    first = run_prompt(prompt())
    assert first.success, first.error
    assert "4" in first.ran and first.captured["5"]["samples"].shape == (1, 4, 8, 8)
    second = run_prompt(prompt())
    assert second.success and "4" not in second.ran and "1" not in second.ran


def test_it_shows_progress_and_previews(run_prompt, prompt, monkeypatch):
    import comfy.utils
    import latent_preview
    from comfy.cli_args import LatentPreviewMethod, args

    monkeypatch.setattr(args, "preview_method", LatentPreviewMethod.Latent2RGB)
    monkeypatch.setattr(latent_preview, "default_preview_method", LatentPreviewMethod.Latent2RGB, raising=False)
    seen = []
    monkeypatch.setattr(
        comfy.utils, "PROGRESS_BAR_HOOK", lambda value, total, preview, **kw: seen.append((value, total, preview))
    )
    assert run_prompt(prompt(steps=3)).success
    assert [value for value, total, _ in seen if total == 3] == [1, 2, 3]
    assert all(preview is not None for _, total, preview in seen if total == 3)


def test_interrupting_stops_it_and_queueing_again_works(run_prompt, prompt, monkeypatch):
    import comfy.model_management
    import comfy.utils

    def interrupt(value, total, preview, **kwargs):
        comfy.model_management.interrupt_current_processing()
        comfy.model_management.throw_exception_if_processing_interrupted()

    with monkeypatch.context() as patch:
        patch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", interrupt)
        stopped = run_prompt(prompt(steps=50))
    assert not stopped.success and any(event == "execution_interrupted" for event, _ in stopped.messages)
    assert run_prompt(prompt(steps=2)).success

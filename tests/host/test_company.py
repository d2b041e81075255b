"""The rest of ComfyUI: stock guiders, samplers, model patches, areas, masks, LoRAs and ControlNets."""

import pytest
import torch
from small import SIZE, STEPS, empty_latent, rand


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

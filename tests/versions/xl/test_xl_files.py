"""XL's files, told from SDXL's, saved and loaded again; and the rest of ComfyUI."""

import pytest
import torch
from few_steps import with_few_step_lora
from safetensors.torch import load_file, save_file
from weights import tensor_for

PREFIX = "model.diffusion_model."


@pytest.fixture
def opens(nodes, models_dir):
    """`opens(state_dict, name)`: MODEL and VAE of a file in models/checkpoints with these weights, by our node."""

    def run(state_dict, name="xl-under-test.safetensors", metadata=None):
        save_file(state_dict, models_dir / "checkpoints" / name, metadata)
        return nodes("LoadCheckpoint", name)

    return run


def test_a_saved_model_opens_without_metadata_by_either_loader(
    xl, model, core_node, models_dir, condition, eps, assert_golden, tmp_path
):
    import comfy_extras.nodes_model_merging as merging

    merging.save_checkpoint(model, filename_prefix="saved-eps", output_dir=str(tmp_path))
    (saved,) = tmp_path.glob("*.safetensors")
    weights = load_file(saved)
    published = {key for key in xl.checkpoint() if not key.startswith("img_embedder.") and "conv_fg" not in key}
    assert set(weights) - {"colorize_head_channels"} == published
    name = f"saved-{xl.variant}.safetensors"
    save_file(weights, models_dir / "checkpoints" / name)
    (opened, *_) = core_node("CheckpointLoaderSimple")(ckpt_name=name)
    assert type(opened.model.model_config) is type(model.model.model_config)
    positive, *_ = condition()
    out = eps(opened, positive)  # nothing in the file tells eps from v: XL is v
    sigmas = opened.get_model_object("model_sampling").sigma(xl["t"].float())[:, None, None, None]
    noisy = xl["x"] * (1 + sigmas**2) ** 0.5
    denoised = noisy / (1 + sigmas**2) - xl["eps"] * sigmas / (1 + sigmas**2) ** 0.5
    assert_golden(out, (noisy - denoised) / sigmas)


def test_a_file_in_half_precision_is_its_weights_rounded(xl, opens, condition, eps):
    half = {key: value.half() for key, value in xl.checkpoint().items()}
    (rounded, *_) = opens({key: value.float() for key, value in half.items()}, "eps-rounded.safetensors", xl.metadata())
    (model, *_) = opens(half, "eps-half.safetensors", xl.metadata())
    positive, *_ = condition()
    assert torch.equal(eps(model, positive), eps(rounded, positive))


def test_it_is_an_sdxl_to_latents_and_previews(model):
    import comfy.latent_formats

    assert isinstance(model.model.latent_format, comfy.latent_formats.SDXL)
    assert model.model.latent_format.scale_factor == 0.13025


def sdxl_shapes(vector: int) -> dict[str, torch.Tensor]:
    """SDXL's UNet in its published size, without memory, conditioned on a vector of that many channels."""
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    unet = UNetModel(
        image_size=32,
        in_channels=4,
        out_channels=4,
        model_channels=320,
        num_res_blocks=[2, 2, 2],
        channel_mult=[1, 2, 4],
        num_classes="sequential",
        adm_in_channels=vector,
        num_head_channels=64,
        use_spatial_transformer=True,
        transformer_depth=[0, 0, 2, 2, 10, 10],
        transformer_depth_middle=10,
        transformer_depth_output=[0, 0, 0, 2, 2, 2, 10, 10, 10],
        context_dim=2048,
        use_linear_in_transformer=True,
        legacy=False,
        device="meta",
    )
    return {PREFIX + key: value for key, value in unet.state_dict().items()}


def test_plain_sdxl_is_the_hosts_and_xl_is_ours(pack, xl):
    import comfy.model_detection
    import comfy.supported_models

    def detected(state_dict):
        return comfy.model_detection.model_config_from_unet(state_dict, PREFIX)

    assert type(detected(sdxl_shapes(2816))) is comfy.supported_models.SDXL
    ours = {key: value.to("meta") for key, value in xl.checkpoint().items() if not key.startswith(PREFIX)}
    assert detected(sdxl_shapes(512)) is None
    found = detected(sdxl_shapes(512) | ours | {key: xl.weights[key] for key in xl.weights if ".lora_" in key})
    assert found.version.name == {"sdxl": "XL", "xlv2": "XL v2"}[xl.variant]
    assert type(detected(sdxl_shapes(2816))) is comfy.supported_models.SDXL


@pytest.mark.parametrize(
    "key",
    [
        "control_encoder.zero_layer.0.weight",
        "proj.transformer.layers.0.weight",
        "proj.mlp.0.weight",
        "fg_encoder.input_blocks.0.0.weight",
        f"{PREFIX}map_modules.0.weight",
        f"{PREFIX}warp_modules.0.norm1.weight",
        f"{PREFIX}style_modules.0.0.weight",
        f"{PREFIX}input_blocks.4.1.transformer_blocks.0.attn2.to_q.lora_down_foreground.weight",
    ],
)
def test_layouts_that_nobody_published_are_refused_by_name(xl, opens, key):
    with pytest.raises(ValueError, match=r"xl-under-test\.safetensors is an XL checkpoint with .* not supported"):
        opens(xl.checkpoint() | {key: torch.zeros(1)}, metadata=xl.metadata())


def test_what_does_not_fit_together_is_refused(xl, opens):
    with pytest.raises(ValueError, match="its size conditioning has 2816 channels where that of XL has 512"):
        opens(xl.checkpoint() | {f"{PREFIX}label_emb.0.0.weight": torch.zeros(128, 2816)}, metadata=xl.metadata())
    with pytest.raises(ValueError, match="sketch_head_channels is missing, and 128 does not divide"):
        opens(xl.checkpoint() | narrow(xl))
    weights = xl.checkpoint()
    del weights["control_encoder.attn_layer.q_norm.weight"]
    with pytest.raises(ValueError, match=r"control_encoder\.attn_layer\.q_norm\.weight"):
        opens(weights, metadata=xl.metadata())


def narrow(xl) -> dict[str, torch.Tensor]:
    """The sketch encoder's query at a width that no head of 128 divides."""
    return {"control_encoder.attn_layer.to_q.weight": torch.zeros(96, 96)}


def test_cls_tokens_are_refused(nodes, checkpoint_name):
    with pytest.raises(ValueError, match=r"token_type: .* is an XL checkpoint"):
        nodes("LoadCheckpoint", checkpoint_name, "auto", "cls")


@pytest.mark.parametrize(
    "key",
    [
        "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_v",
        "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_v",
    ],
)
def test_loras_of_sdxl_change_the_picture(xl, model, condition, eps, key):
    import comfy.sd

    width = xl.weights[f"{PREFIX}input_blocks.4.1.transformer_blocks.0.attn2.to_v.weight"].shape
    lora = {f"{key}.lora_up.weight": torch.ones(width[0], 1), f"{key}.lora_down.weight": torch.ones(1, width[1])}
    patched, _ = comfy.sd.load_lora_for_models(model, None, lora, 1.0, 0.0)
    positive, *_ = condition()
    assert (eps(patched, positive) - xl["eps"]).abs().max() > 1e-3


def test_a_control_net_of_sdxl_is_told_what_sdxl_is(xl, model, core_node, condition, eps):
    """Its vector has 2816 channels; XL's own has 512."""
    import comfy.cldm.cldm
    import comfy.controlnet
    import comfy.ops

    config = {key: value for key, value in model.model.model_config.unet_config.items() if key != "out_channels"}
    config |= {"hint_channels": 3, "adm_in_channels": 2816, "dtype": torch.float32}
    network = comfy.cldm.cldm.ControlNet(**config, operations=comfy.ops.disable_weight_init)
    for name, parameter in network.named_parameters():
        parameter.data = tensor_for(name, list(parameter.shape)) * 0.2
    seen = []
    network.label_emb.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    height, width = xl.config["hw"]
    positive, negative, _ = condition()
    positive, _ = core_node("ControlNetApplyAdvanced")(
        positive=positive,
        negative=negative,
        control_net=comfy.controlnet.ControlNet(network, load_device=torch.device("cpu")),
        image=torch.rand(1, height, width, 3),
        strength=1.0,
        start_percent=0.0,
        end_percent=1.0,
    )
    assert (eps(model, positive) - xl["eps"]).abs().max() > 1e-3
    sizes = torch.tensor([height, width, 0, 0, height, width]).unsqueeze(1) * 10000 ** -(torch.arange(128) / 128)
    assert torch.allclose(seen[0][0, 1280:].view(6, 256)[:, 128:], sizes.sin(), atol=1e-3)
    assert not seen[0][0, :1280].any()


def test_an_area_and_a_batch_and_any_size(model, core_node, condition):
    positive, no_reference, _ = condition()
    (area,) = core_node("ConditioningSetArea")(conditioning=positive, width=72, height=64, x=24, y=24, strength=1.0)
    (out,) = core_node("KSampler")(
        model=model,
        seed=1,
        steps=1,
        cfg=3.0,
        sampler_name="euler",
        scheduler="normal",
        positive=positive + area,
        negative=no_reference,
        latent_image={"samples": torch.zeros(2, 4, 20, 30)},
        denoise=1.0,
    )
    assert out["samples"].shape == (2, 4, 20, 30) and out["samples"].isfinite().all()


def test_a_lora_of_sdxl_that_makes_few_steps_enough_loads_whole(model, caplog):
    with_few_step_lora(model, caplog)

"""What a training starts from: a file of Stable Diffusion 2, or of ColorizeDiffusion."""

import pytest
import torch
from safetensors.torch import save_file
from small_training import PREFIX, randomize


@pytest.fixture(scope="module")
def host_unet(module, tiny_config):
    """The host's own UNet in the shape of Stable Diffusion 2.1, small: its transformers' projections are linear."""
    import comfy.ops
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    arguments = module("host.unet").unet_arguments(tiny_config.unet) | {"use_linear_in_transformer": True}
    return randomize(UNetModel(**arguments, device="cpu", operations=comfy.ops.disable_weight_init).float())


@pytest.fixture
def stable_diffusion(host_unet, tiny_vae_state_dict, tmp_path):
    """`stable_diffusion(**changed)` writes a small checkpoint in SD 2.1's layout, without what is changed to None."""

    def write(name="sd.safetensors", **changed):
        weights = {PREFIX + key: value for key, value in host_unet.state_dict().items()} | tiny_vae_state_dict
        weights["cond_stage_model.model.ln_final.weight"] = torch.ones(8)
        kept = {key: value.contiguous() for key, value in (weights | changed).items() if value is not None}
        save_file(kept, tmp_path / name)
        return str(tmp_path / name)

    return write


def test_a_stable_diffusion_2_start_computes_what_the_hosts_own_unet_does(trainable, stable_diffusion, host_unet):
    start = trainable.load_start(stable_diffusion(), "stable_diffusion")
    latent, tokens = torch.randn(2, 4, 16, 16), torch.randn(2, 5, 48)
    t, sketch = torch.tensor([3, 800]), torch.randn(2, 3, 128, 128)
    with torch.no_grad():
        expected = host_unet(latent, t, context=tokens)
        actual = trainable.Colorizer(start.unet)(latent, t, tokens, sketch)
    assert expected.abs().mean() > 0.1
    torch.testing.assert_close(actual, expected, atol=1e-4 * expected.abs().mean().item(), rtol=0)


def test_stable_diffusion_2_predicts_what_its_weights_look_like_under_any_name(trainable, stable_diffusion):
    bias = f"{PREFIX}output_blocks.11.1.transformer_blocks.0.norm1.bias"
    for spread, prediction in ((0.05, "eps"), (0.2, "v")):
        file = stable_diffusion("mine.safetensors", **{bias: torch.tensor([-spread, spread]).repeat(16)})
        assert trainable.load_start(file, "stable_diffusion").config.prediction == prediction


def test_only_the_last_layers_of_the_new_sketch_encoder_are_zero_and_all_learn(trainable, stable_diffusion):
    start = trainable.load_start(stable_diffusion(), "stable_diffusion")
    zero = {name for name, weight in start.unet.control_encoder.named_parameters() if not weight.any()}
    layers = ["zero_layer.0", *(f"zero_blocks.{i}.0" for i in range(4))]
    assert zero == {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}
    assert all(weight.requires_grad and weight.dtype == torch.float32 for weight in start.unet.parameters())
    colorizer = trainable.Colorizer(start.unet)
    colorizer(
        torch.randn(1, 4, 8, 8), torch.tensor([5]), torch.randn(1, 4, 48), torch.randn(1, 3, 64, 64)
    ).sum().backward()
    assert start.unet.control_encoder.zero_layer[0].weight.grad.any()


def test_a_start_brings_the_vae_of_its_file(trainable, stable_diffusion, tiny_vae_state_dict):
    assert trainable.load_start(stable_diffusion(), "stable_diffusion").vae.keys() == tiny_vae_state_dict.keys()


def test_a_published_file_starts_as_it_is(trainable, golden_checkpoint, golden_state_dict):
    start = trainable.load_start(str(golden_checkpoint), "checkpoint")
    saved = start.unet.state_dict()
    assert start.vae == {} and torch.equal(
        saved["control_encoder.model.0.weight"], golden_state_dict["control_encoder.model.0.weight"]
    )
    key = "middle_block.1.proj_in.weight"
    assert torch.equal(saved[key], golden_state_dict[PREFIX + key])


def test_stable_diffusion_1_is_refused_by_name(trainable, stable_diffusion, host_unet):
    linear = {
        PREFIX + key: value[..., None, None]
        for key, value in host_unet.state_dict().items()
        if key.endswith(("proj_in.weight", "proj_out.weight"))
    }
    with pytest.raises(ValueError, match=r"sd1\.safetensors is a Stable Diffusion checkpoint, but none of version 2"):
        trainable.load_start(stable_diffusion("sd1.safetensors", **linear), "stable_diffusion")


def test_an_inpainting_model_is_refused(trainable, stable_diffusion):
    nine = {f"{PREFIX}input_blocks.0.0.weight": torch.zeros(32, 9, 3, 3)}
    with pytest.raises(ValueError, match="text to image"):
        trainable.load_start(stable_diffusion(**nine), "stable_diffusion")


def test_an_incomplete_start_is_named_with_what_it_lacks(trainable, stable_diffusion):
    with pytest.raises(ValueError, match=r"half\.safetensors lacks 1 of the .* weights, out\.2\.bias"):
        trainable.load_start(stable_diffusion("half.safetensors", **{f"{PREFIX}out.2.bias": None}), "stable_diffusion")


def test_another_kind_of_file_is_no_start(trainable, golden_clip):
    with pytest.raises(ValueError, match=r"tiny-clip\.safetensors holds no denoiser"):
        trainable.load_start(str(golden_clip), "checkpoint")


def test_a_start_of_the_other_kind_says_which_it_is(trainable, stable_diffusion, golden_checkpoint):
    with pytest.raises(
        ValueError, match=r"sd\.safetensors is a Stable Diffusion checkpoint .*: set kind to stable_diff"
    ):
        trainable.load_start(stable_diffusion(), "checkpoint")
    with pytest.raises(ValueError, match=r"tiny-eps\.safetensors is no Stable Diffusion checkpoint"):
        trainable.load_start(str(golden_checkpoint), "stable_diffusion")


def test_what_is_saved_starts_again_and_says_what_it_predicts(module, trainable, stable_diffusion, tmp_path):
    start = trainable.load_start(stable_diffusion("v-pred.safetensors"), "stable_diffusion")
    randomize(start.unet.control_encoder)
    path = tmp_path / "any-name.safetensors"
    module("training.export").save_checkpoint(path, start.config, start.unet.state_dict(), start.vae)
    again = trainable.load_start(str(path), "checkpoint")
    assert start.config.prediction == "v" and again.config == start.config and again.vae.keys() == start.vae.keys()
    saved = again.unet.state_dict()
    assert all(torch.equal(saved[key], value.half().float()) for key, value in start.unet.state_dict().items())
    assert list(tmp_path.glob("any-name*")) == [path]

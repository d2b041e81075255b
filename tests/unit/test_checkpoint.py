import json

import pytest
import torch

from colorize_core.checkpoint.autoencoder import PUBLISHED_AUTOENCODER, AutoencoderConfig, detect_autoencoder
from colorize_core.checkpoint.config import Config
from colorize_core.checkpoint.keys import from_published_keys, to_published_keys, vae_weights
from colorize_core.checkpoint.metadata import HEAD_CHANNELS_KEY, METADATA_KEY, read_facts
from colorize_core.checkpoint.unet import UNetShape
from colorize_core.checkpoint.writing import file_contents
from colorize_core.versions import (
    detect,
    detect_prediction,
    detect_version,
    v1,
    v1_5,
    v2,
    warn_of_other_tokens,
    xl,
)
from colorize_core.versions.v1 import v1_config

TINY = Config(
    version=v1.VERSION,
    prediction="eps",
    token_type="attention",
    unet=UNetShape(
        in_channels=4,
        out_channels=4,
        model_channels=32,
        channel_mult=(1, 2, 4, 4),
        num_res_blocks=(2, 2, 2, 2),
        transformer_depth=(1, 1, 1, 1, 1, 1, 0, 0),
        transformer_depth_middle=1,
        transformer_depth_output=(1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0),
        context_dim=64,
        num_head_channels=16,
        use_linear_in_transformer=False,
    ),
)
PARTS = v1.VERSION.parts
NOTHING = read_facts({}, None, "")


def without(state_dict, *parts):
    return {key: value for key, value in state_dict.items() if not any(part in key for part in parts)}


def told(**config):
    return {METADATA_KEY: json.dumps(config)}


def test_the_configuration_comes_from_keys_and_shapes(golden_state_dict):
    assert detect(golden_state_dict, "tiny.safetensors") == TINY


def test_keys_that_occur_and_mean_nothing_are_ignored(golden_state_dict):
    junk = dict.fromkeys(["betas", "model_ema.decay", "cond_stage_model.transformer.x", "proj.weight"], torch.zeros(1))
    assert detect(golden_state_dict | junk, "tiny.safetensors") == TINY


def test_the_width_of_a_head_is_told_or_follows_the_model(golden_state_dict):
    assert detect(golden_state_dict, "", told(num_head_channels=8)).unet.num_head_channels == 8
    assert detect(golden_state_dict, "", {"format": "pt"}).unet.num_head_channels == 16
    wide = golden_state_dict | {"model.diffusion_model.input_blocks.0.0.weight": torch.empty(320, 4, 3, 3)}
    assert detect(wide, "").unet.num_head_channels == 64


@pytest.mark.parametrize(
    ("name", "version", "prediction"),
    [
        ("mult-eps-ft.safetensors", v1.VERSION, "eps"),
        ("mult-ft.safetensors", v1.VERSION, "eps"),
        ("MULT-NewFT.ckpt", v1.VERSION, "eps"),
        ("switch-eps.safetensors", v1_5.VERSION, "eps"),
        ("v2-full.safetensors", v2.VERSION, "v"),
        ("mine-v.safetensors", v1.VERSION, "v"),
        ("mine_vpred_2.safetensors", v1.VERSION, "v"),
        ("mine-v-eps.safetensors", v1.VERSION, "v"),
        ("mine-eps.safetensors", v2.VERSION, "eps"),
        ("steps-vivid.safetensors", v1.VERSION, "eps"),
        ("steps-vivid.safetensors", v2.VERSION, "v"),
    ],
)
def test_eps_or_v_by_published_name_then_words_then_version(name, version, prediction):
    assert detect_prediction({}, version, NOTHING, name) == prediction


def test_what_the_file_says_of_itself_comes_first():
    assert detect_prediction({}, v1.VERSION, read_facts({}, told(prediction="v"), ""), "mult-eps-ft.safetensors") == "v"
    assert detect_prediction({"v_pred": torch.tensor([])}, v1.VERSION, NOTHING, "mult-eps-ft.safetensors") == "v"


@pytest.mark.parametrize("text", ["{", "[]", "7", '{"prediction": "x"}', '{"prediction": ["eps"]}'])
def test_metadata_that_says_nothing_usable_is_named(golden_state_dict, text):
    with pytest.raises(ValueError, match=rf"^mine\.safetensors: {METADATA_KEY} of its metadata is .*write"):
        detect(golden_state_dict, "mine.safetensors", {METADATA_KEY: text})


@pytest.mark.parametrize("width", [0, -16, 12, 16.0, "16", None])
def test_a_head_width_that_does_not_divide_the_model_is_named(golden_state_dict, width):
    with pytest.raises(
        ValueError,
        match=r"^mine\.safetensors: num_head_channels .* (width of 32|no width of a head): write",
    ):
        detect(golden_state_dict, "mine.safetensors", told(num_head_channels=width))


@pytest.mark.parametrize(
    ("key", "version"),
    [
        ("model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_q.lora_down_fg.weight", v1_5.VERSION),
        ("thresh_embedder.0.weight", v1_5.VERSION),
        ("bg_encoder.zero_layers.0.weight", v2.VERSION),
        ("model.diffusion_model.warp_modules.0.norm.weight", v2.VERSION),
        ("control_encoder.attn_layer.to_q.weight", xl.VERSION),
        ("proj.attn.to_q.weight", xl.VERSION),
        ("model.diffusion_model.middle_block.1.0.attn2.to_q.lora_down_background.weight", xl.ADAPTED_VERSION),
    ],
)
def test_every_version_is_recognized_by_each_of_its_marks(golden_state_dict, key, version):
    assert detect_version(golden_state_dict | {key: torch.zeros(1)}) == version


def test_v2_is_v2_although_it_has_the_adapters_of_v1_5(golden_state_dict):
    keys = ["style_encoder.x", "model.diffusion_model.output_blocks.3.attn2.to_q.lora_up_bg.weight"]
    keys.append("model.diffusion_model.output_blocks.3.attn2.to_q.lora_down_bg.weight")
    assert detect_version(golden_state_dict | dict.fromkeys(keys, torch.zeros(1))) == v2.VERSION


def test_a_stable_diffusion_checkpoint_is_sent_to_its_own_loader(golden_state_dict):
    plain = without(golden_state_dict, "control_encoder.")
    assert detect_version(plain) is None
    with pytest.raises(ValueError, match=r"sd\.ckpt has no sketch encoder .* load it with Load Checkpoint"):
        detect(plain, "sd.ckpt")


def test_a_file_without_a_denoiser_is_no_checkpoint(golden_clip_state_dict):
    with pytest.raises(ValueError, match=r"clip\.safetensors holds no denoiser"):
        detect(golden_clip_state_dict, "clip.safetensors")


def test_a_missing_weight_is_named(golden_state_dict):
    with pytest.raises(ValueError, match=r"cut\.safetensors lacks the weight out\.2\.weight"):
        detect(without(golden_state_dict, "diffusion_model.out.2."), "cut.safetensors")


def test_a_denoiser_that_the_hints_do_not_fit_is_refused(golden_state_dict):
    with pytest.raises(ValueError, match="11 input blocks"):
        detect(without(golden_state_dict, ".input_blocks.11."), "short.safetensors")


def test_a_denoiser_without_one_of_its_output_blocks_is_refused(golden_state_dict):
    with pytest.raises(ValueError, match="11 output blocks where 12 belong"):
        detect(without(golden_state_dict, ".output_blocks.4."), "short.safetensors")


def test_published_keys_there_and_back(golden_state_dict):
    unet = from_published_keys(golden_state_dict | {"betas": torch.zeros(1)}, PARTS)
    assert {"input_blocks.0.0.weight", "control_encoder.zero_layer.0.bias"} <= unet.keys()
    assert to_published_keys(unet, PARTS).keys() == golden_state_dict.keys()


def test_an_encoder_that_was_saved_inside_the_denoiser_is_found(golden_state_dict):
    unet = from_published_keys(golden_state_dict, PARTS)
    nested = {f"model.diffusion_model.{key}": value for key, value in unet.items()}
    assert detect(nested, "nested.safetensors") == TINY
    assert from_published_keys(nested, PARTS).keys() == unet.keys()


def autoencoder(ch, ch_mult, num_res_blocks, z_channels, embed_dim):
    """Those weights of an AutoencoderKL that tell its shape."""
    weights = {
        "encoder.conv_in.weight": torch.empty(ch, 3, 3, 3),
        "decoder.conv_in.weight": torch.empty(ch * ch_mult[-1], z_channels, 3, 3),
        "post_quant_conv.weight": torch.empty(z_channels, embed_dim, 1, 1),
    }
    for level, mult in enumerate(ch_mult):
        for block in range(num_res_blocks):
            weights[f"encoder.down.{level}.block.{block}.conv1.weight"] = torch.empty(ch * mult, ch, 3, 3)
        for block in range(num_res_blocks + 1):
            weights[f"decoder.up.{level}.block.{block}.conv1.weight"] = torch.empty(ch * mult, ch, 3, 3)
    return weights


@pytest.mark.parametrize("shape", [(128, (1, 2, 4, 4), 2, 4, 4), (64, (1, 1), 0, 4, 4), (64, (1, 2), 3, 8, 6)])
def test_the_autoencoder_is_told_by_its_shapes(shape):
    assert detect_autoencoder(autoencoder(*shape), "vae") == AutoencoderConfig(*shape)
    assert AutoencoderConfig(128, (1, 2, 4, 4), 2, 4, 4) == PUBLISHED_AUTOENCODER


def test_an_autoencoder_as_diffusers_saves_it_is_refused_by_name():
    weights = {"encoder.conv_in.weight", "decoder.conv_in.weight", "decoder.up_blocks.0.resnets.0.norm1.weight"}
    with pytest.raises(ValueError, match=r"^mse\.safetensors holds a VAE in the layout of diffusers: take"):
        detect_autoencoder(dict.fromkeys(weights, torch.zeros(8, 4, 3, 3)), "mse.safetensors")


def test_a_vae_of_another_kind_of_model_is_not_called_incomplete():
    weights = {"encoder.conv_in.weight", "decoder.conv_in.weight", "decoder.up.0.block.0.conv1.weight"}
    with pytest.raises(ValueError, match=r"^ae\.safetensors lacks the VAE.s weight .* none of Stable Diffusion 1 or 2"):
        detect_autoencoder(dict.fromkeys(weights, torch.zeros(8, 16, 3, 3)), "ae.safetensors")


def test_a_file_that_says_which_tokens_its_model_was_trained_on_warns_of_others(caplog):
    config = v1_config("eps", model_channels=32, context_dim=64)
    for told, chosen in (("cls", "attention"), ("attention", "attention"), (None, "cls")):
        warn_of_other_tokens(read_facts({}, file_contents(config, {}, {}, told)[1], ""), "mine.safetensors", chosen)
    warn_of_other_tokens(NOTHING, "published.safetensors", "cls")
    warned = ["mine.safetensors was trained with token_type cls, and attention is chosen."]
    assert [record.getMessage() for record in caplog.records] == warned


def test_a_new_v1_model_has_the_configuration_that_its_weights_tell(golden_state_dict):
    assert v1_config("eps", model_channels=32, context_dim=64) == detect(golden_state_dict, "tiny.safetensors")


@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_a_saved_file_tells_its_configuration_whatever_its_name(golden_state_dict, prediction):
    config = v1_config(prediction, model_channels=32, context_dim=64, num_head_channels=8)
    weights, metadata = file_contents(config, from_published_keys(golden_state_dict, PARTS), {})
    assert detect(weights, "switch-eps-v.safetensors", metadata) == config
    assert detect_prediction(weights, v1.VERSION, NOTHING, "any") == prediction  # for a loader that reads no metadata
    assert without(weights, "v_pred", HEAD_CHANNELS_KEY).keys() == golden_state_dict.keys()


def test_a_vae_is_found_in_a_checkpoint_and_in_a_file_of_its_own(tiny_vae_state_dict, golden_state_dict):
    own = {key.removeprefix("first_stage_model."): value for key, value in tiny_vae_state_dict.items()}
    assert vae_weights(own).keys() == tiny_vae_state_dict.keys()
    assert vae_weights(golden_state_dict | tiny_vae_state_dict).keys() == tiny_vae_state_dict.keys()
    assert vae_weights(golden_state_dict) == {}
    assert vae_weights(own | {"loss.logvar": torch.zeros(())}).keys() == tiny_vae_state_dict.keys()

"""CLIP files through LoadCLIP and EncodeReference, judged by open_clip and by transformers."""

from types import SimpleNamespace

import open_clip
import pytest
import torch
import torch.nn.functional as F
from open_clip.model import CLIP as OpenClip
from small_clip import MODEL_CFG, TEXTS, metadata, random_
from transformers import CLIPConfig, CLIPModel


def judge_pixels(pack, image):
    mean, std = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
    return pack.colorize_core.tokens.preprocess(image, 56, mean, std)


# open_clip and transformers as judges


@pytest.fixture(params=[False, True], ids=["gelu", "quickgelu"])
def judge(request) -> OpenClip:
    judge = random_(OpenClip(**MODEL_CFG, quick_gelu=request.param))
    judge.metadata = metadata(quick_gelu=request.param)
    return judge


def test_tokens_are_open_clips_on_every_patch(judge, load, image, pack, encode_reference, assert_golden):
    clip_vision, _ = load(judge.state_dict(), judge.metadata)
    visual = judge.visual
    hidden = visual.transformer(visual._embeds(judge_pixels(pack, image)))
    tokens = encode_reference(clip_vision, image)
    assert_golden(tokens, visual.ln_post(hidden) @ visual.proj)
    assert_golden(tokens[:, 0], judge.encode_image(judge_pixels(pack, image)))


def test_text_features_are_open_clips(judge, load, encode_text, assert_golden):
    _, clip = load(judge.state_dict(), judge.metadata)
    tokens = open_clip.tokenize(TEXTS)
    assert_golden(encode_text(clip, TEXTS, "last"), judge.encode_text(tokens, normalize=True))

    judge.transformer.resblocks = judge.transformer.resblocks[:-1]
    assert_golden(encode_text(clip, TEXTS), judge.encode_text(tokens, normalize=True))


def test_files_of_transformers_give_what_transformers_gives(
    load, image, pack, encode_reference, encode_text, assert_golden
):
    tower = {"vocab_size": 49408, "eos_token_id": 49407, "projection_dim": 48, "hidden_act": "quick_gelu"}
    text = {"hidden_size": 48, "intermediate_size": 192, "num_hidden_layers": 4, "num_attention_heads": 3}
    vision = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": 2}
    vision |= {"patch_size": 14, "image_size": 56, "projection_dim": 48, "hidden_act": "quick_gelu"}
    judge = random_(CLIPModel(CLIPConfig(text_config=text | tower, vision_config=vision, projection_dim=48)))
    clip_vision, clip = load(judge.state_dict(), metadata(quick_gelu=True))

    hidden = judge.vision_model(judge_pixels(pack, image)).last_hidden_state
    tokens = judge.visual_projection(judge.vision_model.post_layernorm(hidden))
    assert_golden(encode_reference(clip_vision, image), tokens)

    ids = open_clip.tokenize(TEXTS)
    pooled = judge.text_model(ids).pooler_output
    assert_golden(encode_text(clip, TEXTS, "last"), F.normalize(judge.text_projection(pooled), dim=-1))


# The objects are the host's own


def test_the_clip_works_in_the_cores_text_encode(plain, load, core_node):
    _, clip = load(plain.state_dict(), metadata())
    (conditioning,) = core_node("CLIPTextEncode")(clip=clip, text="a girl")
    assert conditioning[0][0].shape == (1, 77, 48) and conditioning[0][0].std() > 0


def test_the_image_encoder_works_in_the_cores_vision_encode(plain, load, core_node, image):
    clip_vision, _ = load(plain.state_dict(), metadata())
    (output,) = core_node("CLIPVisionEncode")(clip_vision=clip_vision, image=image, crop="none")
    assert output.image_embeds.shape == (2, 48)


def test_text_features_do_not_depend_on_the_set_last_layer_node(plain, load, core_node, encode_text):
    _, clip = load(plain.state_dict(), metadata())
    (other,) = core_node("CLIPSetLastLayer")(clip=clip, stop_at_clip_layer=-3)
    assert torch.equal(encode_text(clip, TEXTS), encode_text(other, TEXTS))
    assert clip.layer_idx is None and other.layer_idx == -3


def test_the_text_encoder_can_be_made_again_by_the_host(plain, load):
    _, clip = load(plain.state_dict(), metadata())
    again = clip.patcher.clone(disable_dynamic=True, force_deepcopy=True)
    assert again.model is not clip.patcher.model
    for key, value in clip.patcher.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[key]), key


# Encoders from other loaders


def test_an_image_encoder_of_the_cores_loader_gives_the_same_tokens(
    plain, load, image, encode_reference, assert_golden
):
    from comfy.clip_vision import ClipVisionModel, convert_to_transformers

    config = {"model_type": "clip_vision_model", "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2}
    config |= {"intermediate_size": 256, "hidden_act": "gelu", "image_size": 56, "patch_size": 14, "num_channels": 3}
    theirs = ClipVisionModel(config | {"projection_dim": 48, "layer_norm_eps": 1e-5})
    theirs.load_sd(convert_to_transformers(dict(plain.state_dict()), "visual."))
    ours, _ = load(plain.state_dict(), metadata())
    assert_golden(encode_reference(theirs, image), encode_reference(ours, image))


@pytest.fixture
def sd2_text_encoder(host):
    """A text encoder of SD 2's depth as the core's CLIPLoader makes it; `layers` of them are in the file."""
    from comfy.sd import load_text_encoder_state_dicts

    shape = {"hidden_size": 48, "num_attention_heads": 3, "intermediate_size": 192}
    tower = MODEL_CFG["text_cfg"] | {"layers": 24}
    judge = random_(OpenClip(**MODEL_CFG | {"text_cfg": tower}))

    def load(without: tuple[str, ...] = ()):
        state_dict = {k: v.clone() for k, v in judge.state_dict().items() if not k.startswith(("visual.", *without))}
        return load_text_encoder_state_dicts([state_dict], model_options={"clip_h_model_config": shape}), judge

    return load


def test_text_features_of_the_cores_loader_are_open_clips(sd2_text_encoder, encode_text, assert_golden):
    clip, judge = sd2_text_encoder()
    tokens = open_clip.tokenize(TEXTS)
    assert_golden(encode_text(clip, TEXTS, "last"), judge.encode_text(tokens, normalize=True))


def test_a_text_encoder_without_projection_is_refused(sd2_text_encoder, encode_text):
    clip, _ = sd2_text_encoder(without=("text_projection", "transformer.resblocks.23."))
    clip.cond_stage_model.clip_h.transformer.text_projection.weight.zero_()  # whatever was in that memory: mostly this
    with pytest.raises(ValueError, match=r"no text projection.*ViT-H-14"):
        encode_text(clip, TEXTS)


def test_a_text_encoder_that_is_no_single_clip_is_refused(encode_text):
    t5_or_pair = SimpleNamespace(cond_stage_model=torch.nn.Module())
    with pytest.raises(ValueError, match="not a CLIP of one tower"):
        encode_text(t5_or_pair, TEXTS)


@pytest.mark.parametrize("model_type", ["siglip_vision_model", "dinov2"])
def test_image_encoders_without_the_joint_space_are_refused(model_type, host, image, encode_reference):
    from comfy.clip_vision import ClipVisionModel

    config = {"model_type": model_type, "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
    config |= {"intermediate_size": 128, "hidden_act": "gelu", "image_size": 56, "patch_size": 14, "num_channels": 3}
    config |= {"layer_norm_eps": 1e-6, "use_swiglu_ffn": False}
    with pytest.raises(ValueError, match=f"clip_vision: a {model_type} is not the CLIP"):
        encode_reference(ClipVisionModel(config), image)

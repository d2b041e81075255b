"""CLIP files through LoadCLIP and EncodeReference, judged by the goldens, by open_clip and by transformers."""

import json
from types import SimpleNamespace

import open_clip
import pytest
import torch
import torch.nn.functional as F
from open_clip.model import CLIP as OpenClip
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel

MODEL_CFG = {
    "embed_dim": 48,
    "vision_cfg": {"image_size": 56, "layers": 3, "width": 64, "head_width": 32, "patch_size": 14},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 48, "heads": 3, "layers": 4},
}
TEXTS = [
    "purple hair",
    "a (girl:1.5) with \\(parentheses\\)",
    "embedding:foo is a word",
    "Curly \u2019quotes\u2019 &amp; CAPITALS",
    "long " * 200,
    "",
]


def metadata(**more) -> dict[str, str]:
    return {"open_clip_config": json.dumps(MODEL_CFG | more)}


def random_(module: torch.nn.Module) -> torch.nn.Module:
    """The module with weights large enough that every part of it counts."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        if parameter.ndim > 1:
            parameter.normal_(std=parameter[0].numel() ** -0.5)
        else:
            parameter.normal_(std=0.1).add_(1.0 if parameter.ndim and parameter.mean() > 0.5 else 0.0)
    return module.eval()


@pytest.fixture
def load(node, models_dir):
    """`load(state_dict, metadata)` writes a file, loads it with the node, and gives (CLIP_VISION, CLIP)."""

    def load(state_dict, metadata=None, name="clip-under-test.safetensors"):
        tensors = {key: value.contiguous().clone() for key, value in state_dict.items()}
        save_file(tensors, models_dir / "clip_vision" / name, metadata)
        return node("LoadCLIP").execute(clip_name=name).result

    return load


@pytest.fixture
def encode_text(pack):
    return pack.colorize_core.host.clip.encode_text


@pytest.fixture
def encode_reference(node):
    """All tokens [B,1+N,D] of an image, class token first."""

    def encode(clip_vision, image):
        (tokens,) = node("EncodeReference").execute(clip_vision=clip_vision, image=image).result
        assert tokens.cls.shape[1] == 1 and tokens.cls.dtype == tokens.local.dtype == torch.float32
        return torch.cat([tokens.cls, tokens.local], dim=1)

    return encode


@pytest.fixture
def image():
    return torch.rand(2, 40, 70, 3, generator=torch.Generator().manual_seed(0))


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


@pytest.fixture
def plain() -> OpenClip:
    return random_(OpenClip(**MODEL_CFG))


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


# What a file may be like


def test_a_token_table_of_the_used_rows_is_a_whole_one(plain, load, encode_text):
    _, whole = load(plain.state_dict(), metadata())
    ids = open_clip.tokenize(TEXTS).unique()
    compact = plain.state_dict() | {
        "token_embedding.weight": plain.token_embedding.weight[ids],
        "token_embedding.ids": ids.int(),
    }
    _, clip = load(compact, metadata())
    assert torch.equal(encode_text(clip, TEXTS), encode_text(whole, TEXTS))
    table = clip.cond_stage_model.clip_h.transformer.text_model.embeddings.token_embedding.weight
    assert table.shape[0] == 49408 and (table.abs().sum(dim=-1) > 0).sum() == len(ids)


def test_half_precision_is_close(plain, load, image, encode_reference, encode_text):
    whole_vision, whole = load(plain.state_dict(), metadata())
    clip_vision, clip = load({key: value.half() for key, value in plain.state_dict().items()}, metadata())
    assert torch.allclose(encode_text(clip, TEXTS), encode_text(whole, TEXTS), atol=1e-2)
    assert torch.allclose(encode_reference(clip_vision, image), encode_reference(whole_vision, image), atol=2e-2)


def test_an_image_encoder_alone_works_and_its_clip_says_what_is_missing(
    plain, load, image, encode_reference, encode_text, core_node
):
    both, _ = load(plain.state_dict(), metadata())
    alone = {key: value for key, value in plain.state_dict().items() if key.startswith("visual.")}
    clip_vision, clip = load(alone, metadata())
    assert torch.equal(encode_reference(clip_vision, image), encode_reference(both, image))
    assert not hasattr(clip, "patcher")
    with pytest.raises(AttributeError, match=r"clip-under-test\.safetensors has no text encoder: .*ViT-H-14"):
        encode_text(clip, TEXTS)
    with pytest.raises(AttributeError, match="has no text encoder"):
        core_node("CLIPTextEncode")(clip=clip, text="a girl")


def test_a_text_encoder_alone_works_and_its_clip_vision_says_what_is_missing(
    plain, load, image, encode_reference, encode_text
):
    _, both = load(plain.state_dict(), metadata())
    alone = {key: value for key, value in plain.state_dict().items() if not key.startswith("visual.")}
    clip_vision, clip = load(alone, metadata())
    assert torch.equal(encode_text(clip, TEXTS), encode_text(both, TEXTS))
    with pytest.raises(AttributeError, match="has no image encoder"):
        encode_reference(clip_vision, image)


@pytest.mark.parametrize("ids", [[0, 1, 49408], [0, 1, -1], [0, 1], [[0, 1, 2]], [0.0, 1.0, float("nan")]])
def test_numbers_of_a_token_table_that_do_not_fit_are_refused(plain, load, ids):
    rows = plain.token_embedding.weight[:3]
    with pytest.raises(
        ValueError, match=r"clip-under-test\.safetensors: its token_embedding\.ids .* get the file again"
    ):
        load(
            plain.state_dict() | {"token_embedding.weight": rows, "token_embedding.ids": torch.tensor(ids)}, metadata()
        )


@pytest.mark.parametrize("broken", [torch.tensor(1.0), torch.ones(7)])
def test_weights_of_no_clips_shape_are_refused(plain, load, broken):
    for key in ("visual.transformer.resblocks.0.attn.in_proj_weight", "visual.conv1.weight", "text_projection"):
        with pytest.raises(ValueError, match=r"^clip-under-test\.safetensors: .*(Load|Get)"):
            load(plain.state_dict() | {key: broken}, metadata())


@pytest.mark.parametrize("dtype", [torch.int8, torch.complex64, torch.bool])
def test_weights_of_another_type_than_floats_are_refused(plain, load, dtype):
    with pytest.raises(ValueError, match=rf"^clip-under-test\.safetensors: .* {dtype}\. Get the file in float16"):
        load({key: value.to(dtype) for key, value in plain.state_dict().items()}, metadata())


@pytest.mark.parametrize("spoiled", [float("nan"), float("inf"), 1e38])
def test_weights_that_are_no_numbers_are_noticed_where_they_are_used(
    plain, load, image, encode_reference, encode_text, spoiled
):
    weights = {key: torch.full_like(value, spoiled) for key, value in plain.state_dict().items()}
    clip_vision, clip = load(weights, metadata())
    with pytest.raises(ValueError, match=r"^clip_vision: .* Get the file again"):
        encode_reference(clip_vision, image)
    with pytest.raises(ValueError, match=r"^clip: .* Get the file again"):
        encode_text(clip, TEXTS)


def test_one_file_name_in_both_folders_is_two_files(plain, load, node, models_dir, image):
    name = "in-both-folders.safetensors"
    both = {key: value.contiguous().clone() for key, value in plain.state_dict().items()}
    save_file(both, models_dir / "text_encoders" / name, metadata())
    images_alone = {key: value for key, value in both.items() if key.startswith("visual.")}
    _, without_text = load(images_alone, metadata(), name=name)  # that of clip_vision, as before there were two
    assert not hasattr(without_text, "patcher")
    (choice,) = node("LoadCLIP").define_schema().inputs
    assert {name, f"text_encoders/{name}"} <= set(choice.options)
    _, clip = node("LoadCLIP").execute(clip_name=f"text_encoders/{name}").result
    assert hasattr(clip, "patcher")


def test_a_file_that_is_no_clip_is_refused(load):
    with pytest.raises(ValueError, match=r"other\.safetensors is not a CLIP"):
        load({"model.diffusion_model.out.2.weight": torch.zeros(4, 4)}, name="other.safetensors")


def test_a_clip_without_its_text_projection_is_refused_by_name(plain, load):
    state_dict = {key: value for key, value in plain.state_dict().items() if key != "text_projection"}
    with pytest.raises(ValueError, match=r"text_projection\.weight is missing"):
        load(state_dict, metadata())


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

"""CLIP files: the used rows of a token table, half precision, one half alone, broken ones."""

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from small_clip import TEXTS, metadata


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

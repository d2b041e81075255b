"""A tagger's file through LoadTagger and EncodeReference, judged by timm itself."""

import logging

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from weights import tensor_for

PREFIX = "img_embedder.model."
SMALL = {"embed_dim": 8, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 8), "num_classes": 12}


def swin(**settings) -> torch.nn.Module:
    """timm's network as the published XL makes it, with weights of which every one counts."""
    network = timm.create_model("swinv2_base_window8_256", img_size=448, window_size=14, **settings)
    weights = {key: tensor_for(key, list(value.shape)) for key, value in network.state_dict().items()}
    network.load_state_dict(weights)
    return network.eval()


@pytest.fixture(scope="module")
def small():
    return swin(**SMALL)


@pytest.fixture
def load(node, models_dir):
    """`load(state_dict)` writes a file into `folder`, and loads it with the node."""

    def load(state_dict, folder="clip_vision", name="tagger-under-test.safetensors"):
        tensors = {key: value.contiguous().clone() for key, value in state_dict.items()}
        path = models_dir / folder / name
        save_file(tensors, path)
        try:
            return node("LoadTagger").execute(tagger_name=name).result[0]
        finally:
            path.unlink()

    return load


@pytest.fixture
def clip_vision(node, tiny_clip):
    return node("LoadCLIP").execute(clip_name=tiny_clip).result[0]


@pytest.fixture
def image():
    return torch.rand(2, 60, 40, 3, generator=torch.Generator().manual_seed(0))


def judge(network, image):
    """What timm makes of pictures that it is given as the published code does."""
    pixels = F.interpolate(image.movedim(-1, 1), (448, 448), mode="bicubic", align_corners=True, antialias=True)
    return network.forward_features((pixels * 2 - 1)[:, [2, 1, 0]]).flatten(1, 2)


def test_the_tagger_of_the_published_size_agrees_with_timm(load, node, clip_vision, image, assert_golden):
    network = swin(num_classes=9083)
    tokens = node("EncodeReference").execute(clip_vision, image[:1], tagger=load(network.state_dict())).result[0]
    assert tokens.tagger.shape == (1, 196, 1024)
    assert_golden(tokens.tagger, judge(network, image[:1]))


def test_a_file_of_its_own_and_a_checkpoint_give_the_same(load, node, clip_vision, image, small, assert_golden):
    own = load(small.state_dict())
    checkpoint = {PREFIX + key: value for key, value in small.state_dict().items()} | {"betas": torch.zeros(1)}
    brought = load(checkpoint, folder="checkpoints")
    for tagger in (own, brought):
        tokens = node("EncodeReference").execute(clip_vision, image, tagger=tagger).result[0]
        assert_golden(tokens.tagger, judge(small, image))


def test_the_tags_themselves_are_not_needed(load, small):
    load({key: value for key, value in small.state_dict().items() if not key.startswith("head.")})


def test_a_file_in_half_precision_computes_in_single(load, node, clip_vision, image, small):
    tagger = load({key: value.half() for key, value in small.state_dict().items()})
    tokens = node("EncodeReference").execute(clip_vision, image, tagger=tagger).result[0]
    assert tokens.tagger.dtype == torch.float32
    assert torch.allclose(tokens.tagger, judge(small, image), atol=0.05)


def test_transparency_shows_white_and_the_tokens_of_clip_stay(load, node, clip_vision, image, small):
    tagger = load(small.state_dict())
    mask = torch.zeros(2, 60, 40)
    mask[:, :30] = 1
    white = image.clone()
    white[:, :30] = 1
    one, other = (
        node("EncodeReference").execute(clip_vision, picture, mask=covered, tagger=tagger).result[0]
        for picture, covered in ((image, mask), (white, None))
    )
    assert torch.allclose(one.tagger, other.tagger, atol=1e-5)
    alone = node("EncodeReference").execute(clip_vision, image, mask=mask).result[0]
    assert alone.tagger is None
    assert torch.equal(alone.local, one.local)


def test_a_file_without_a_tagger_is_named(load):
    with pytest.raises(ValueError, match=r"tagger-under-test\.safetensors holds no tagger"):
        load({"layers.0.weight": torch.zeros(1)})


def test_a_damaged_file_is_named(load, small):
    weights = small.state_dict()
    with pytest.raises(ValueError, match=r"lacks the weight norm\.bias"):
        load({key: value for key, value in weights.items() if key != "norm.bias"})
    with pytest.raises(ValueError, match=r"norm\.bias has the shape \[3\]"):
        load(weights | {"norm.bias": torch.zeros(3)})


@pytest.mark.parametrize(
    "change",
    [
        {"layers.0.blocks.0.norm1.weight": torch.zeros(2**16)},
        {"layers.1.blocks.0.attn.logit_scale": torch.zeros(3, 1, 1)},
        {"layers.9.blocks.0.x": torch.zeros(1)},
        {f"layers.3.blocks.{block}.x": torch.zeros(1) for block in range(500)},
    ],
)
def test_stages_that_no_tagger_has_are_refused_before_anything_is_built(load, small, change):
    with pytest.raises(ValueError, match=r"^tagger-under-test\.safetensors: its stages are not those of a Swin"):
        load(small.state_dict() | change)


def test_a_tagger_of_whole_numbers_or_nan_is_refused(load, node, clip_vision, image, small):
    weights = small.state_dict()
    with pytest.raises(ValueError, match=r"^tagger-under-test\.safetensors: norm\.bias is of the type torch\.int8"):
        load(weights | {"norm.bias": weights["norm.bias"].to(torch.int8)})
    spoiled = load(weights | {"norm.bias": torch.full_like(weights["norm.bias"], float("nan"))})
    with pytest.raises(ValueError, match=r"^tagger: what it makes of the picture is NaN"):
        node("EncodeReference").execute(clip_vision, image, tagger=spoiled)


def test_another_tagger_warns(load, small, caplog):
    with caplog.at_level(logging.WARNING):
        load(small.state_dict())
    assert "knows 12 tags where the tagger of the published XL knows 9083" in caplog.text

import json
import sys

import pytest
import torch

from colorize_core.clip_config import MODEL_CFG_KEY, VIT_BIG_G, VIT_H, ClipConfig, detect_clip, open_clip_table

TINY = {
    "embed_dim": 48,
    "vision_cfg": {"image_size": 56, "layers": 3, "width": 64, "head_width": 32, "patch_size": 14},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 48, "heads": 3, "layers": 4},
}


def state_dict(config: ClipConfig, *towers: str) -> dict[str, torch.Tensor]:
    """Tensors of the right shapes without memory, in Hugging Face's keys."""
    return {
        key: torch.empty(shape, device="meta")
        for key, shape in config.shapes().items()
        if not towers or key.startswith(towers)
    }


@pytest.fixture(scope="module")
def table() -> list[tuple[ClipConfig, str]]:
    return list(open_clip_table())


@pytest.fixture(scope="module")
def vit_h(table) -> ClipConfig:
    return next(config for config, tag in table if tag == "laion2b_s32b_b79k")


def test_vit_h_is_known_by_its_shapes(vit_h):
    found = detect_clip(state_dict(vit_h), {}, "open_clip_pytorch_model.bin")
    assert found == vit_h
    assert (found.vision.heads, found.text.heads, found.activation, found.image_size) == (16, 16, "gelu", 224)


def test_vit_h_is_known_by_its_image_encoder_alone(vit_h):
    assert detect_clip(state_dict(vit_h, "vision_model", "visual_projection"), {}, "model.safetensors") == vit_h


def test_a_training_set_in_the_file_name_tells_networks_of_the_same_shapes_apart(vit_h):
    assert detect_clip(state_dict(vit_h), {}, "DFN5B-CLIP-ViT-H-14.safetensors").activation == "quick_gelu"
    assert detect_clip(state_dict(vit_h), {}, "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors").activation == "gelu"


@pytest.mark.parametrize("published", [VIT_H, VIT_BIG_G], ids=["ViT-H", "ViT-bigG"])
def test_the_published_clips_are_read_without_open_clip(published, monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)  # importing it fails
    assert detect_clip(state_dict(published), {}, "open_clip_model.safetensors") == published
    assert detect_clip(state_dict(published, "text_model", "text_projection"), None, "text.safetensors") == published


@pytest.mark.parametrize("published", [VIT_H, VIT_BIG_G], ids=["ViT-H", "ViT-bigG"])
def test_networks_of_the_published_clips_shape_are_those_of_the_table(published, table):
    of_its_shape = [(config, tag) for config, tag in table if config.misfit(state_dict(published)) is None]
    assert len(of_its_shape) > 2
    for config, tag in of_its_shape:
        assert detect_clip(state_dict(published), {}, f"clip-{tag}.safetensors") == config, tag


def test_vit_l_is_openais_unless_its_name_says_otherwise(table):
    vit_l = next(config for config, tag in table if config.vision.width == 1024 and config.patch_size == 14)
    assert detect_clip(state_dict(vit_l), {}, "clip-vit-large-patch14.safetensors").activation == "quick_gelu"
    laion = detect_clip(state_dict(vit_l), {}, "CLIP-ViT-L-14-laion2B-s32B-b82K.safetensors")
    assert laion.activation == "gelu" and laion.mean == (0.5, 0.5, 0.5)


def test_every_network_of_the_table_is_found_by_its_own_shapes(table):
    for config in {config for config, _ in table}:
        assert config.misfit(state_dict(config)) is None


def test_what_no_table_has_is_read_from_the_metadata():
    config = ClipConfig.from_open_clip(TINY)
    found = detect_clip(
        state_dict(config), {MODEL_CFG_KEY: json.dumps(TINY | {"quick_gelu": True})}, "tiny.safetensors"
    )
    assert (found.vision.heads, found.text.heads, found.activation) == (2, 3, "quick_gelu")


def test_a_network_in_no_table_and_without_metadata_is_refused():
    with pytest.raises(ValueError, match=r"tiny\.safetensors: its shapes fit no ViT CLIP"):
        detect_clip(state_dict(ClipConfig.from_open_clip(TINY)), {}, "tiny.safetensors")


@pytest.mark.parametrize(
    ("model_cfg", "says"),
    [
        ("not json", "not the model_cfg"),
        ("[" * 100_000, "it is no JSON"),
        ("3", "no object with vision_cfg"),
        (json.dumps(TINY | {"text_cfg": 3}), "no object with vision_cfg"),
        (json.dumps(TINY | {"text_cfg": TINY["text_cfg"] | {"heads": 5}}), "heads do not divide"),
        (json.dumps(TINY | {"text_cfg": TINY["text_cfg"] | {"heads": 1.5}}), "positive numbers"),
        (json.dumps(TINY | {"text_cfg": TINY["text_cfg"] | {"heads": 10**9}}), "far too large"),
        (json.dumps(TINY | {"text_cfg": TINY["text_cfg"] | {"layers": 10**5}}), "more than 256 layers"),
        (json.dumps(TINY | {"vision_cfg": TINY["vision_cfg"] | {"width": float("inf")}}), "positive numbers"),
        (json.dumps(TINY | {"vision_cfg": TINY["vision_cfg"] | {"mlp_ratio": float("nan")}}), "mlp_ratio"),
        (json.dumps(TINY | {"vision_cfg": TINY["vision_cfg"] | {"head_width": 48}}), "heads do not divide"),
        ("[]", "not the model_cfg"),
        (json.dumps({"embed_dim": 48}), "vision_cfg"),
        (json.dumps(TINY | {"custom_text": True}), "custom_text"),
        (json.dumps(TINY | {"vision_cfg": TINY["vision_cfg"] | {"layers": [3, 4, 6, 3]}}), "positive numbers"),
        (json.dumps(TINY | {"embed_dim": 64}), r"visual_projection\.weight is \[48, 64\], not \[64, 64\]"),
        (json.dumps(TINY | {"text_cfg": TINY["text_cfg"] | {"layers": 5}}), r"layers\.4\.\S+ is missing"),
        (json.dumps(TINY | {"text_cfg": TINY["text_cfg"] | {"layers": 3}}), r"layers\.3\.\S+ is one too many"),
    ],
)
def test_metadata_that_is_wrong_is_refused_in_a_sentence_that_names_the_file(model_cfg, says):
    with pytest.raises(ValueError, match=rf"tiny\.safetensors.*{says}.*(Write|Get)"):
        detect_clip(state_dict(ClipConfig.from_open_clip(TINY)), {MODEL_CFG_KEY: model_cfg}, "tiny.safetensors")


def test_a_missing_open_clip_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(ImportError, match=r"pip install -r requirements\.txt"):
        detect_clip(state_dict(ClipConfig.from_open_clip(TINY)), {}, "clip.safetensors")


@pytest.mark.parametrize("towers", [(), ("vision_model", "visual_projection")])
@pytest.mark.parametrize("file_name", ["CLIP-ViT-bigG-14-laion2B-39B-b160k.safetensors", "model.safetensors"])
def test_vit_bigg_of_xl_is_known_by_its_shapes(table, towers, file_name):
    vit_bigg = next(config for config, tag in table if tag == "laion2b_s39b_b160k")
    found = detect_clip(state_dict(vit_bigg, *towers), {}, file_name)
    assert found == vit_bigg
    assert (found.vision.layers, found.vision.width, found.vision.heads, found.vision.mlp_width) == (48, 1664, 16, 8192)
    assert (found.embed_dim, found.image_size, found.activation) == (1280, 224, "gelu")

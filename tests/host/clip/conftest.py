"""The small CLIP, loaded and used through the pack."""

import pytest
import torch
from open_clip.model import CLIP as OpenClip
from safetensors.torch import save_file
from small_clip import MODEL_CFG, random_


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


@pytest.fixture
def plain() -> OpenClip:
    return random_(OpenClip(**MODEL_CFG))

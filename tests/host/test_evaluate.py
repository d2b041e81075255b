import pytest
import torch


@pytest.fixture
def features(pack):
    import importlib

    return importlib.import_module(f"{pack.__name__}.colorize_core.training.features")


def test_clip_similarity_is_the_cosine_of_the_tokens_that_the_nodes_make(features, pack, golden_clip):
    host = pack.colorize_core.host.clip
    first, second = torch.rand(2, 1, 3, 64, 48, generator=torch.Generator().manual_seed(0))
    encode = features.load_clip_encoder(golden_clip)
    tokens = host.encode_reference(host.load_clip(str(golden_clip))[0], first.movedim(1, -1)).cls[:, 0]
    torch.testing.assert_close(encode(first), tokens)
    assert torch.cosine_similarity(encode(first), encode(first)).item() == pytest.approx(1, abs=1e-5)
    assert torch.cosine_similarity(encode(first), encode(second)).item() < 0.9999


def test_a_missing_clip_file_is_named(features, tmp_path):
    with pytest.raises(ValueError, match="there is no file"):
        features.load_clip_encoder(tmp_path / "clip.safetensors")

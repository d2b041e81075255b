"""What v1.5 and v2 add to the denoiser, against what the published implementation gave."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file
from weights import state_dict

from colorize_core.networks.cluster_transformer import ClusterTransformer
from colorize_core.networks.embeddings import ThresholdEmbedder, sinusoidal, size_embedding
from colorize_core.networks.feature_modules import StyleModule, WarpModule, input_widths, output_widths


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


@pytest.fixture
def read(goldens):
    """`read(name)`: configuration and tensors of a golden."""

    def load(name: str) -> tuple[dict, dict]:
        config = json.loads((goldens / f"{name}.json").read_text())["config"]
        return config, load_file(goldens / f"{name}.safetensors")

    return load


@pytest.fixture
def with_weights(goldens):
    """`with_weights(network, name, prefix)`: the network with a golden's weights of that prefix."""

    def load(network, name: str, prefix: str):
        weights = state_dict(goldens / f"{name}.json").items()
        network.load_state_dict({key.removeprefix(prefix): value for key, value in weights if key.startswith(prefix)})
        return network

    return load


@pytest.mark.parametrize("name", ["tiny_v15", "tiny_v15_extra"])
def test_thresholds_are_embedded_as_published(name, read, with_weights, assert_golden):
    config, golden = read(name)
    embedder = with_weights(ThresholdEmbedder(config["ctx"]), name, "thresh_embedder.")
    names = [key for key in golden if key.startswith("threshold_embedding.")]
    assert names
    for key in names:
        threshold = float(key.removeprefix("threshold_embedding.").lstrip("abcdefghijklmnopqrstuvwxyz"))
        assert_golden(embedder(torch.tensor([threshold])), golden[key])


def test_the_cluster_transformer_gathers_the_published_background(read, with_weights, assert_golden):
    config, golden = read("tiny_v15")
    network = ClusterTransformer(config["ctx"], queries=config["n"], depth=config["ct_layers"])
    with_weights(network, "tiny_v15", "transformer.")
    (name,) = [key for key in golden if key.startswith("threshold_embedding.reference")]
    assert_golden(network(golden["background_tokens"] + golden[name]), golden["background_clustered"])


def test_sizes_are_embedded_as_published(read, assert_golden):
    config, golden = read("tiny_v2")
    sizes = {key: re.fullmatch(r"size_embedding\.[a-z]+_(\d+)x(\d+)", key) for key in golden}
    assert sum(map(bool, sizes.values())) == 2
    for key, size in sizes.items():
        if size:
            assert_golden(size_embedding(tuple(map(int, size.groups())), config["hw"]), golden[key])
    config, golden = read("tiny_v2_extra")
    assert_golden(size_embedding(config["bghw"], config["hw"]), golden["bg_encoder.size.background_picture"])


def test_one_short_side_makes_a_picture_count_as_enlarged():
    canvas = 128, 192
    assert torch.equal(size_embedding((128, 192), canvas), sinusoidal(torch.tensor([1.0, 1.0])).reshape(1, -1))
    enlarged = 256 / 128, 128 * 4 / 192  # 64 + 192 high, four times as wide as before
    assert torch.allclose(size_embedding((64, 128), canvas), sinusoidal(torch.tensor(enlarged)).reshape(1, -1))


def test_a_style_scales_and_shifts_each_channel_of_its_own_picture():
    torch.manual_seed(0)
    module, h, emb = StyleModule(8, time_width=16), torch.randn(2, 8, 3, 5), torch.randn(2, 16)
    style = torch.randn(2, 16)
    norm, time, modulation = module
    scale, shift = modulation(norm(style + time(emb)))[:, :, None, None].chunk(2, dim=1)
    assert torch.allclose(module(h, emb, style), h * (1 + scale) + shift)
    assert torch.allclose(module(h, emb, style)[1:], module(h[1:], emb[1:], style[1:]), atol=1e-6)


def test_a_warped_skip_follows_the_features_whatever_their_order():
    torch.manual_seed(0)
    module, skip, features = WarpModule(64), torch.randn(1, 64, 4, 6), torch.randn(1, 10, 64)
    warped = module(skip, features)
    assert warped.shape == skip.shape
    assert torch.allclose(module(skip, features.flip(1)), warped, atol=1e-5)
    assert not torch.allclose(module(skip, 2 * features), warped, atol=1e-3)


def test_block_widths_are_those_of_the_golden_denoiser(goldens):
    described = json.loads((goldens / "tiny_v2.json").read_text())
    config, shapes = described["config"], described["weights"]
    levels = config["mc"], config["mult"], [2] * len(config["mult"])
    warp, style = (f"model.diffusion_model.{kind}_modules" for kind in ("warp", "style"))
    assert input_widths(*levels)[::-1] == [
        shapes[f"{warp}.{i}.norm1.weight"][0] for i in range(3 * len(config["mult"]))
    ]
    assert output_widths(*levels) == [shapes[f"{style}.{i}.0.weight"][0] // 2 for i in range(3 * len(config["mult"]))]

"""XL, base (`sdxl`) and with a background encoder (`xlv2`), against what the published implementation gave."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from weights import tensor_for

from colorize_core.networks.embeddings import background_embedding, canvas_embedding
from colorize_core.networks.multi_scale_encoder import MultiScaleSketchEncoder
from colorize_core.networks.token_mixer import TokenMixer

GOLDEN = Path(__file__).parents[1] / "golden"


class XL:
    """A golden: its configuration, its tensors (pictures as float, -1..1, masks 0..1), and seeded weights."""

    def __init__(self, path: Path):
        described = json.loads(path.read_text())
        self.config = described["config"]
        self.weights = {key: tensor_for(key, shape) for key, shape in described["weights"].items()}
        self.tensors = {
            key: self._values(key, tensor) for key, tensor in load_file(path.with_suffix(".safetensors")).items()
        }

    @staticmethod
    def _values(key: str, tensor: torch.Tensor) -> torch.Tensor:
        if tensor.dtype != torch.uint8:
            return tensor
        return tensor / 255 if "mask" in key else tensor / 127.5 - 1

    def __getitem__(self, key: str) -> torch.Tensor:
        return self.tensors[key]

    def part(self, prefix: str) -> dict[str, torch.Tensor]:
        """The weights under a prefix, without it."""
        return {key.removeprefix(prefix): value for key, value in self.weights.items() if key.startswith(prefix)}


@pytest.fixture(scope="module", params=["tiny_xl", "tiny_xlv2"])
def xl(request) -> XL:
    return XL(GOLDEN / f"{request.param}.json")


@pytest.fixture(autouse=True)
def _inference_mode():
    with torch.inference_mode():
        yield


def test_the_sketch_encoder_gives_the_published_hints(xl, assert_golden):
    config = xl.config
    encoder = MultiScaleSketchEncoder(config["mc"], config["mult"], config["sketch_dim_head"])
    encoder.load_state_dict(xl.part("control_encoder."))
    for name, sketch in ("hints", xl["sketch"]), ("blank_hints", torch.full_like(xl["sketch"], -1)):
        for k, hint in enumerate(encoder(sketch)):
            assert_golden(hint, xl[f"{name}.{k}"])


def test_the_token_mixer_gives_the_published_context(xl, assert_golden):
    weights = xl.part("proj.")
    width, (context_width, both) = len(weights["norm.weight"]), weights["proj.0.weight"].shape
    mixer = TokenMixer(width, both - width, context_width, xl.config["proj_dim_head"])
    mixer.load_state_dict(weights)
    assert_golden(mixer(xl["clip.tokens"], xl["wd.tokens"]), xl["context"])


def test_sizes_are_told_as_published(xl, assert_golden):
    config = xl.config
    assert_golden(canvas_embedding(*config["hw"]), xl["y"])
    if config["variant"] == "xlv2":
        assert_golden(background_embedding(config["refhw"], config["hw"]), xl["bg_encoder.y"])
        embedding = background_embedding(config["bghw"], config["hw"])
        assert_golden(embedding, xl["bg_encoder.y.background_picture"])

"""What every test may use: the goldens, files made of their weights, and the measure of agreement with them."""

import json
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the models are tiny: more threads only wait for each other

import pytest
import torch
from hypothesis import HealthCheck, settings
from safetensors.torch import load_file, save_file
from weights import state_dict

ROOT = Path(__file__).parents[1]
GOLDEN_CONFIG = json.loads((ROOT / "tests" / "golden" / "tiny.json").read_text())["config"]
CLIP_PREFIX = "clip."

torch.set_num_threads(1)

settings.register_profile("any speed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any speed")  # a busy machine is no failure


class _NoTestPackage:
    """Keeps pytest from importing the repository root, whose __init__.py only ComfyUI can import."""

    def pytest_collect_directory(self, path, parent):
        return pytest.Dir.from_parent(parent, path=path) if path == ROOT else None


def pytest_configure(config):
    config.pluginmanager.register(_NoTestPackage())


@pytest.fixture(scope="session")
def golden() -> dict[str, torch.Tensor]:
    """Inputs and outputs of the published implementation on the small v1 model."""
    return load_file(ROOT / "tests" / "golden" / "tiny.safetensors")


@pytest.fixture(scope="session")
def golden_texts() -> list[str]:
    return json.loads((ROOT / "tests" / "golden" / "tiny.json").read_text())["texts"]


@pytest.fixture(scope="session")
def golden_state_dict() -> dict[str, torch.Tensor]:
    """The small v1 model's checkpoint, in published keys (UNet and sketch encoder, no VAE)."""
    return {key: value for key, value in state_dict("tiny").items() if not key.startswith(CLIP_PREFIX)}


@pytest.fixture(scope="session")
def golden_clip_state_dict() -> dict[str, torch.Tensor]:
    """The small CLIP that goes with it, in open_clip's keys."""
    return {
        key.removeprefix(CLIP_PREFIX): value for key, value in state_dict("tiny").items() if key.startswith(CLIP_PREFIX)
    }


@pytest.fixture(scope="session")
def golden_config_metadata() -> dict[str, str]:
    """safetensors metadata for what the shapes of the small model cannot tell."""
    return {"colorize_diffusion_config": json.dumps({"num_head_channels": GOLDEN_CONFIG["hd"]})}


@pytest.fixture(scope="session")
def golden_clip_metadata(golden_clip_state_dict) -> dict[str, str]:
    """safetensors metadata of the small CLIP: its open_clip `model_cfg`."""
    shape = GOLDEN_CONFIG["clip"]
    width, layers, head = shape["width"], shape["layers"], shape["head"]
    vocabulary = golden_clip_state_dict["token_embedding.weight"].shape[0]
    patch = golden_clip_state_dict["visual.conv1.weight"].shape[-1]
    model = {
        "embed_dim": GOLDEN_CONFIG["ctx"],
        "vision_cfg": {"image_size": 224, "layers": layers, "width": width, "head_width": head, "patch_size": patch},
        "text_cfg": {
            "context_length": 77,
            "vocab_size": vocabulary,
            "width": width,
            "heads": width // head,
            "layers": layers,
        },
    }
    return {"open_clip_config": json.dumps(model)}


@pytest.fixture(scope="session")
def golden_checkpoint(tmp_path_factory, golden_state_dict, golden_config_metadata) -> Path:
    """The small model as a checkpoint file in the published layout."""
    path = tmp_path_factory.mktemp("golden") / "tiny-eps.safetensors"
    save_file(golden_state_dict, path, golden_config_metadata)
    return path


@pytest.fixture(scope="session")
def tiny_vae_state_dict() -> dict[str, torch.Tensor]:
    """A small autoencoder with random weights, as a checkpoint holds it."""
    return {f"first_stage_model.{key}": value for key, value in state_dict("tiny_vae").items()}


@pytest.fixture(scope="session")
def golden_clip(tmp_path_factory, golden_clip_state_dict, golden_clip_metadata) -> Path:
    """The small CLIP as an open_clip file."""
    path = tmp_path_factory.mktemp("golden") / "tiny-clip.safetensors"
    save_file(golden_clip_state_dict, path, golden_clip_metadata)
    return path


@pytest.fixture(scope="session")
def assert_golden():
    """`assert_golden(actual, expected, tolerance=1e-4)`: largest difference over the mean size of what is expected."""

    def check(actual: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-4) -> None:
        assert actual.shape == expected.shape, f"shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
        difference = (actual.double().cpu() - expected.double()).abs().max() / expected.double().abs().mean()
        assert difference < tolerance, f"differs by {difference:.3g} (tolerance {tolerance:.3g})"

    return check

"""What every test may use: the goldens, files made of their weights, and the measure of agreement with them."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the models are tiny: more threads only wait for each other

import pytest
import torch
from golden_v1 import GoldenV1, read_golden_v1
from hypothesis import HealthCheck, settings
from real_host import (  # noqa: F401 (fixtures of every folder that needs the real ComfyUI)
    core_node,
    host,
    input_dir,
    load_module,
    models_dir,
    node,
    pack,
    run_prompt,
    small_config,
    tiny_checkpoint,
    tiny_clip,
)
from safetensors.torch import save_file
from weights import state_dict

ROOT = Path(__file__).parents[1]
GOLDENS = ROOT / "tests" / "golden"

torch.set_num_threads(1)

settings.register_profile("any speed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any speed")  # a busy machine is no failure


class _NoTestPackage:
    """Keeps pytest from importing the repository root, whose __init__.py only ComfyUI can import."""

    def pytest_collect_directory(self, path, parent):
        return pytest.Dir.from_parent(parent, path=path) if path == ROOT else None


def pytest_addoption(parser):
    parser.addoption("--goldens", type=Path, default=GOLDENS, help="folder with the goldens of the versions")


def pytest_configure(config):
    config.pluginmanager.register(_NoTestPackage())


@pytest.fixture(scope="session")
def goldens(request) -> Path:
    """The folder with the goldens that tests/versions compares with: those of any widths, inputs and seeds do."""
    return request.config.getoption("goldens").resolve()


@pytest.fixture(scope="session")
def golden() -> GoldenV1:
    """The small v1 model that tests of behavior use, whatever `--goldens` says."""
    return read_golden_v1(GOLDENS)


@pytest.fixture(scope="session")
def golden_texts(golden) -> list[str]:
    return golden.texts


@pytest.fixture(scope="session")
def golden_state_dict(golden) -> dict[str, torch.Tensor]:
    """Its checkpoint, in published keys (UNet and sketch encoder, no VAE)."""
    return golden.checkpoint


@pytest.fixture(scope="session")
def golden_clip_state_dict(golden) -> dict[str, torch.Tensor]:
    """The small CLIP that goes with it, in open_clip's keys."""
    return golden.clip


@pytest.fixture(scope="session")
def golden_config_metadata(golden) -> dict[str, str]:
    """safetensors metadata for what the shapes of the small model cannot tell."""
    return golden.metadata


@pytest.fixture(scope="session")
def golden_clip_metadata(golden) -> dict[str, str]:
    """safetensors metadata of the small CLIP."""
    return golden.clip_metadata


@pytest.fixture(scope="session")
def golden_checkpoint(tmp_path_factory, golden_state_dict, golden_config_metadata) -> Path:
    """The small model as a checkpoint file in the published layout."""
    path = tmp_path_factory.mktemp("golden") / "tiny-eps.safetensors"
    save_file(golden_state_dict, path, golden_config_metadata)
    return path


@pytest.fixture(scope="session")
def tiny_vae_state_dict() -> dict[str, torch.Tensor]:
    """A small autoencoder with random weights, as a checkpoint holds it."""
    return {f"first_stage_model.{key}": value for key, value in state_dict(GOLDENS / "tiny_vae.json").items()}


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

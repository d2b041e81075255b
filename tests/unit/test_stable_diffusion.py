"""What a new colorizer can start from: Stable Diffusion 2, and what it predicts."""

import pytest
import torch

from colorize_core.versions.stable_diffusion import from_stable_diffusion

SPREAD_IN = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias"


@pytest.fixture
def stable_diffusion(golden_state_dict):
    """`stable_diffusion(spread)`: the tiny model as a file of SD 2 whose telling bias spreads by that much."""
    plain = {key: value for key, value in golden_state_dict.items() if not key.startswith("control_encoder.")}
    projections = [key for key in plain if key.endswith(("proj_in.weight", "proj_out.weight"))]
    plain |= {key: plain[key].flatten(1) for key in projections}

    def make(spread: float) -> dict[str, torch.Tensor]:
        bias = torch.linspace(-1, 1, len(plain[SPREAD_IN]))
        return plain | {SPREAD_IN: bias * spread / bias.std(correction=0)}

    return make


@pytest.mark.parametrize(("spread", "prediction"), [(0.085, "eps"), (0.095, "v")])
def test_a_file_of_unknown_name_predicts_v_where_a_bias_spreads_by_more_than_9_hundredths(
    stable_diffusion, spread, prediction
):
    config, _ = from_stable_diffusion(stable_diffusion(spread), "mine.safetensors")
    assert config.prediction == prediction


@pytest.mark.parametrize(
    ("name", "prediction"),
    [
        ("v2-1_768-ema-pruned.safetensors", "v"),
        ("v2-1_768-nonema-pruned.ckpt", "v"),
        ("v2-1_512-ema-pruned.safetensors", "eps"),
    ],
)
def test_the_published_files_are_known_by_name(stable_diffusion, name, prediction):
    assert from_stable_diffusion(stable_diffusion(0.01), name)[0].prediction == prediction

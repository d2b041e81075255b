import pytest
import torch
from safetensors.torch import save_file

from tests.hostile.chain import draw_inputs, whole_prompt


@pytest.fixture(autouse=True)
def _inference_mode():
    """As ComfyUI runs its nodes."""
    with torch.inference_mode():
        yield


@pytest.fixture
def prompt(models_dir, input_dir, golden_state_dict, golden_config_metadata, tiny_vae_state_dict, tiny_clip):
    """`whole_prompt` with files that are there."""
    draw_inputs(input_dir)
    path = models_dir / "checkpoints" / "tiny-with-vae.safetensors"
    save_file(golden_state_dict | tiny_vae_state_dict, path, golden_config_metadata)
    return whole_prompt(path.name, tiny_clip)

"""Every test here runs as ComfyUI runs its nodes, most on the small v1 model."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _inference_mode():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def model(pack, host, tiny_checkpoint):
    """The small golden model as LoadCheckpoint gives it."""
    with torch.inference_mode():
        return host.NODE_CLASS_MAPPINGS["ColorizeDiffusion_LoadCheckpoint"].execute(tiny_checkpoint).result[0]

import pytest
import torch


@pytest.fixture(autouse=True)
def _inference_mode():
    """As ComfyUI runs its nodes."""
    with torch.inference_mode():
        yield

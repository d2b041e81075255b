"""Checkpoint files of a test's own, and what the models in them compute."""

import pytest
import torch
from safetensors.torch import save_file


@pytest.fixture
def checkpoints(models_dir):
    return models_dir / "checkpoints"


@pytest.fixture
def open_file(node):
    """`open_file(name)`: (MODEL, VAE) of a file in models/checkpoints, by our node."""
    return lambda name, **options: node("LoadCheckpoint").execute(name, **options).result


@pytest.fixture
def load(open_file, checkpoints):
    """`load(state_dict, name)` saves a checkpoint there first."""

    def run(state_dict, name, metadata=None, **options):
        if name.endswith(".safetensors"):
            save_file(state_dict, checkpoints / name, metadata)
        else:
            torch.save(state_dict, checkpoints / name)
        return open_file(name, **options)

    return run


@pytest.fixture
def predict():
    """`predict(model)`: one pass of the loaded network with hints, as float32."""
    generator = torch.Generator().manual_seed(0)
    x, context = (torch.randn(shape, generator=generator) for shape in ((1, 4, 8, 8), (1, 16, 64)))
    sketch = torch.randn(1, 3, 64, 64, generator=generator)

    def run(model):
        inner = model.model
        hints = inner.diffusion_model.control_encoder(sketch.to(inner.get_dtype_inference()))
        named = {f"hint_{k}": hint for k, hint in enumerate(hints)}
        return inner.apply_model(x, torch.tensor([3.0]), c_crossattn=context, **named).float()

    return run


@pytest.fixture
def tiny(node, tiny_checkpoint):
    return node("LoadCheckpoint").execute(tiny_checkpoint).result[0]

"""What the tests of training in the real host use."""

import importlib
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from small_training import DEMO, EXPERIMENT, SIDE


@pytest.fixture(autouse=True)
def _inference_mode():
    """As a training runs: with gradients."""
    yield


@pytest.fixture(scope="module")
def module(pack):
    """`module("training.colorizer")` is that module of the pack."""
    return lambda name: importlib.import_module(f"{pack.__name__}.colorize_core.{name}")


@pytest.fixture(scope="module")
def trainable(module):
    return module("host.trainable")


@pytest.fixture(scope="module")
def tiny_config(module):
    return module("versions.v1").v1_config(model_channels=32, channel_mult=(1, 1, 2, 2), context_dim=48)


@pytest.fixture
def experiment(module, load_module, tmp_path):
    """`experiment("key=value", ...)`: a short training on four demo pictures in `tmp_path`."""
    load_module("demo.pictures").write_pictures(tmp_path / "pictures", pairs=2, size=SIDE, seed=5)
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    return lambda *overrides: module("training.config").load(tmp_path / "experiment.yaml", overrides)


@pytest.fixture
def run(module):
    """`run(experiment)` trains as one process."""
    return lambda experiment: module("training.colorizer").run(
        experiment,
        module("training.processes").start_processes(folder=experiment.output, trackers=experiment.training.trackers),
    )


@pytest.fixture
def colors(node, core_node, models_dir, tmp_path):
    """`colors(file)`: the first demo picture as the nodes color it with that checkpoint, [1,64,64,3]."""

    def image(kind):
        picture = Image.open(tmp_path / "pictures" / kind / "00000.png").convert("RGB")
        return torch.from_numpy(np.array(picture))[None] / 255

    def run(file):
        shutil.copy(file, models_dir / "checkpoints")
        shutil.copy(DEMO / "clip-demo.safetensors", models_dir / "clip_vision")
        with torch.inference_mode():
            model, vae = node("LoadCheckpoint").execute(file.name).result
            clip_vision, _ = node("LoadCLIP").execute("clip-demo.safetensors").result
            (tokens,) = node("EncodeReference").execute(clip_vision, image("reference")).result
            canvas, latent = node("PrepareSketch").execute(image("sketch"), SIDE, SIDE, "auto", 1).result
            (sketch,) = node("EncodeSketch").execute(canvas, 1.0).result
            settings = (0, 20, 4.0, 1.0, "dpmpp_2m", "karras", 1.0)
            (latent,) = node("Sampler").execute(model, tokens, sketch, latent, *settings).result
            return core_node("VAEDecode")(vae=vae, samples=latent)[0]

    return run

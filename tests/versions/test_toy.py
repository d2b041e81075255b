"""A version of another shape is added by its own two modules and the lists that the loops read, and by nothing else."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from small import differ, rand

TOY = Path(__file__).parents[1] / "fixtures" / "toy"
LATENT = 1, 16, 12, 8


def load_into(package: str, file: str):
    """A file of the toy as the module `toy` of a package of the pack."""
    spec = importlib.util.spec_from_file_location(f"{package}.toy", TOY / file)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def toy(pack):
    """The Config of the toy version, which is on the lists meanwhile; for each its module is loaded into the pack."""
    import comfy.supported_models

    core = pack.colorize_core
    version = load_into(core.versions.__name__, "version.py")
    host = load_into(core.host.versions.__name__, "host.py")
    lists = core.versions.VERSIONS, core.host.versions.HOST_CONFIGS, comfy.supported_models.models
    before = [list(entries) for entries in lists]
    for entries, new in zip(lists, (version.VERSION, host.ColorizeToy, host.ColorizeToy), strict=True):
        entries.append(new)
    yield version.toy_config()
    for entries, old in zip(lists, before, strict=True):
        entries[:] = old
    for module in version, host:
        del sys.modules[module.__name__]


@pytest.fixture(scope="module")
def checkpoint(pack, toy, models_dir) -> str:
    """Name of a file of the toy version with random weights."""
    import comfy.ops

    core = pack.colorize_core
    build, arguments = core.host.versions.host_config(toy).unet_class, core.host.unet.unet_arguments(toy.unet)
    unet = build(**arguments, config=toy, device="cpu", operations=comfy.ops.manual_cast)
    weights = unet.state_dict()
    random = {key: rand(*value.shape, seed=i) * 0.2 for i, (key, value) in enumerate(weights.items())}
    save_file(core.checkpoint.writing.published_weights(toy, random), models_dir / "checkpoints" / "toy.safetensors")
    return "toy.safetensors"


@pytest.fixture
def color(pack, node):
    """`color(model, reference, sketch)`: the Colorize node's latent for random ones of these seeds."""
    core = pack.colorize_core

    def run(model, reference=0, sketch=0):
        local = rand(1, 9, 48, seed=reference)
        tokens = core.tokens.ReferenceTokens(cls=local[:, :1], local=local)
        drawing = core.sketch.Sketch((rand(1, 3, 96, 64, seed=100 + sketch) > 1).float() * 2 - 1)
        latent = {"samples": torch.zeros(LATENT)}
        colored = node("Sampler").execute(model, tokens, drawing, latent, 1, 2, 4.0, 2.0, "euler", "normal", 1.0)
        return colored.result[0]["samples"]

    return run


def test_our_loader_and_the_stock_one_open_it(toy, checkpoint, node, core_node, color):
    ours = node("LoadCheckpoint").execute(checkpoint).result[0]
    stock = core_node("CheckpointLoaderSimple")(ckpt_name=checkpoint)[0]
    assert ours.model.config == stock.model.config == toy
    colored = color(ours)
    assert colored.shape == LATENT and colored.isfinite().all()
    assert torch.equal(color(stock), colored)


def test_reference_sketch_and_strength_count(checkpoint, node, color):
    model = node("LoadCheckpoint").execute(checkpoint).result[0]
    plain = color(model)
    assert differ(color(model, reference=1), plain)
    assert differ(color(model, sketch=1), plain)
    strength = node("ReferenceStrength").execute
    assert differ(color(strength(model, 1.0, per_block=", ".join(["0.3"] * 11)).result[0]), plain)
    with pytest.raises(ValueError, match="11"):
        strength(model, 1.0, per_block="0.3, 0.4")


def test_a_saved_model_is_the_file_that_it_was_made_of(checkpoint, models_dir, node, color, tmp_path):
    import comfy_extras.nodes_model_merging as merging
    from safetensors.torch import load_file

    model = node("LoadCheckpoint").execute(checkpoint).result[0]
    merging.save_checkpoint(model, filename_prefix="saved", output_dir=str(tmp_path))
    (saved,) = tmp_path.glob("*.safetensors")
    folder = models_dir / "checkpoints"
    saved.rename(folder / "saved-toy.safetensors")
    before, after = load_file(folder / checkpoint), load_file(folder / "saved-toy.safetensors")
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert torch.equal(color(node("LoadCheckpoint").execute("saved-toy.safetensors").result[0]), color(model))

"""Every version as a start: it is trained as it is run, learns, and is saved as its own version."""

import itertools
import json
import shutil

import pytest
import torch
from golden_xl import GoldenXL
from safetensors.torch import load_file, save_file
from small_training import SIDE
from weights import state_dict

FILES = {"v1": "tiny", "v1.5": "tiny_v15", "v2": "tiny_v2", "XL": "tiny_xl", "XL v2": "tiny_xlv2"}
SOLID = "training={steps: 1, learning_rate: 0.001, ema: 0}"


@pytest.fixture(params=FILES)
def version(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def files(golden_clip, goldens, tiny_vae_state_dict, tmp_path_factory):
    """`files(version)`: a small checkpoint with a VAE and, for XL, a tagger in it; and the CLIP that goes with it."""
    folder = tmp_path_factory.mktemp("versions")

    def make(version: str):
        path = folder / f"{FILES[version]}-eps.safetensors"
        description = goldens / f"{FILES[version]}.json"
        if version.startswith("XL"):
            golden, clip = GoldenXL(description), folder / f"{FILES[version]}-clip.safetensors"
            weights, metadata = golden.checkpoint(), golden.metadata()
            save_file(golden.part("clip."), clip, golden.clip_metadata())
        else:
            heads = json.loads(description.read_text())["config"]["hd"]
            weights = {key: value for key, value in state_dict(description).items() if not key.startswith("clip.")}
            metadata = {"colorize_diffusion_config": json.dumps({"num_head_channels": heads})}
            clip = golden_clip
        save_file(weights | tiny_vae_state_dict, path, metadata)
        return path, clip

    return make


@pytest.fixture
def of_version(files, experiment):
    """`of_version(version, *overrides)`: an experiment that starts from its file."""

    def make(version, *overrides):
        file, clip = files(version)
        start = f"start={{kind: checkpoint, file: {file.as_posix()}}}"
        return experiment(start, f"clip={clip.as_posix()}", SOLID, *overrides)

    return make


def golden_rows(module, start, goldens, version):
    """A golden's latent, timesteps, tokens and sketch, as a training has them, and all of its tensors."""
    ReferenceTokens = module("tokens").ReferenceTokens
    tensors = load_file(goldens / f"{FILES[version]}.safetensors")
    sketch = tensors["sketch"] if tensors["sketch"].is_floating_point() else tensors["sketch"] / 127.5 - 1
    if version.startswith("XL"):
        clip, tagger = tensors["clip.tokens"], tensors["wd.tokens"]
        reference = ReferenceTokens(clip[:, :1], clip[:, 1:], tagger)
    else:
        reference = ReferenceTokens(tensors["context"][:, :1], tensors["context"])
    tokens = module("host.trainable").stack_tokens(start.config, reference)
    rows = (tensors["x"], tensors["t"], tokens.expand(2, -1, -1), sketch.expand(2, -1, -1, -1))
    return rows, tensors


def test_what_is_trained_computes_what_was_published(module, trainable, files, goldens, version, assert_golden):
    start = trainable.load_start(str(files(version)[0]), "checkpoint")
    (x, t, tokens, sketch), golden = golden_rows(module, start, goldens, version)
    colorizer = trainable.Colorizer(start.unet)
    with torch.no_grad():
        assert_golden(colorizer(x, t, tokens, sketch), golden["eps"])
        if version in ("v1", "XL", "XL v2"):  # whose goldens have it
            assert_golden(colorizer(x, t, torch.zeros_like(tokens), sketch), golden["eps.no_reference"])


def test_all_that_colors_is_trained_and_nothing_that_only_figure_and_background_uses(
    module, trainable, files, goldens, version
):
    parts = module("training.parts")
    start = trainable.load_start(str(files(version)[0]), "checkpoint")
    rows, _ = golden_rows(module, start, goldens, version)
    trainable.Colorizer(start.unet)(*rows).square().mean().backward()
    used = {name for name, weight in start.unet.named_parameters() if weight.grad is not None}
    parts.select_weights(start.unet, parts.WeightSettings())
    trained = {name for name, weight in start.unet.named_parameters() if weight.requires_grad}
    assert trained == used
    assert (len(used) < len(list(start.unet.parameters()))) == (version not in ("v1", "XL"))
    assert any(name.startswith("proj.") for name in trained) == version.startswith("XL")


def test_a_step_lowers_the_loss_of_its_pictures(module, of_version, version):
    colorizer, loader = module("training.colorizer"), module("training.loader")
    settings = of_version(version)
    model, start, encoders = colorizer.build_model(settings)
    pictures = module("training.data").PictureFolder(settings.data.root)
    dataset = loader.picture_dataset(pictures, settings.data, settings.deformation)
    (part,) = itertools.islice(loader.batches(dataset, seed=0), 1)
    loss_of = colorizer.loss_of(settings, start.config.prediction, encoders)
    optimizer = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], lr=1.0)
    before = loss_of(model, part)
    before.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
    optimizer.step()
    after = loss_of(model, part)
    assert norm > 0 and after < before


@pytest.fixture
def opened(node, models_dir):
    """`opened(file)`: the MODEL and VAE of a file, by the node."""

    def load(file):
        shutil.copy(file, models_dir / "checkpoints")
        return node("LoadCheckpoint").execute(file.name).result

    return load


@pytest.fixture
def colored(node, models_dir):
    """`colored(model, clip, tagger_file)`: a latent of a random sketch and reference by the nodes, two steps."""

    def run(model, clip, tagger_file):
        shutil.copy(clip, models_dir / "clip_vision")
        shutil.copy(tagger_file, models_dir / "checkpoints")
        is_xl = model.model.config.token_widths[1] > 0
        generator = torch.Generator().manual_seed(0)
        drawing, reference = torch.rand(2, 1, SIDE, SIDE, 3, generator=generator)
        with torch.inference_mode():
            tagger = node("LoadTagger").execute(tagger_file.name).result[0] if is_xl else None
            clip_vision, _ = node("LoadCLIP").execute(clip.name).result
            (tokens,) = node("EncodeReference").execute(clip_vision, reference, tagger=tagger).result
            canvas, latent = node("PrepareSketch").execute(drawing, SIDE, SIDE, "black lines on white", 1).result
            (sketch,) = node("EncodeSketch").execute(canvas, 1.0).result
            settings = (0, 2, 2.0, 1.0, "euler", "karras", 1.0)
            return node("Sampler").execute(model, tokens, sketch, latent, *settings).result[0]["samples"]

    return run


def test_what_is_saved_is_of_its_version_and_colors_through_the_nodes(
    run, files, of_version, opened, colored, version, tmp_path
):
    file, clip = files(version)
    run(of_version(version, f"samples={int(version == 'XL')}"))  # a sheet takes its time
    saved = tmp_path / "mine" / "mine.safetensors"
    assert (tmp_path / "mine" / "sheets" / "00000001.png").is_file() == (version == "XL")
    model, before = opened(saved)[0], opened(file)[0]
    assert model.model.config.version.name == version and model.model.config == before.model.config
    results = [colored(one, clip, file) for one in (before, model)]
    assert results[1].isfinite().all() and not torch.allclose(*results, atol=1e-3)

    weights, trained = load_file(file), load_file(saved)
    published = {key for key in weights if not key.startswith("img_embedder.") and "conv_fg" not in key}
    assert published <= trained.keys()
    moved = {key for key in published if not torch.equal(trained[key], weights[key].half())}
    parts = model.model.config.version.figure_parts
    still = tuple(f"{prefix}{part}" for part in parts for prefix in ("", "model.diffusion_model."))
    assert moved and not any(key.startswith((*still, "first_stage_model.")) or ".lora_" in key for key in moved)


def test_a_lora_is_read_whole_by_the_hosts_loader_and_colors(
    run, core_node, files, of_version, opened, colored, models_dir, version, tmp_path
):
    file, clip = files(version)
    run(of_version(version, "weights={part: lora, rank: 2}", "training.learning_rate=0.1", "samples=0"))
    saved = tmp_path / "mine" / "mine.safetensors"
    shutil.copy(saved, models_dir / "loras" / f"{FILES[version]}.safetensors")
    model = opened(file)[0]
    (patched,) = core_node("LoraLoaderModelOnly")(
        model=model, lora_name=f"{FILES[version]}.safetensors", strength_model=1.0
    )
    lora = load_file(saved)
    assert len(patched.patches) == len([key for key in lora if key.endswith(".lora_A.weight")]) > 8
    plain, changed = (colored(one, clip, file) for one in (model, patched))
    assert not torch.allclose(plain, changed, atol=1e-3)


# What does not go together


def test_xl_without_a_tagger_says_what_is_missing(module, files, goldens, experiment, tmp_path):
    file, clip = files("XL")
    weights = {key: value for key, value in load_file(file).items() if not key.startswith("img_embedder.")}
    save_file(weights, tmp_path / "alone.safetensors", GoldenXL(goldens / "tiny_xl.json").metadata())
    start = f"start={{kind: checkpoint, file: {(tmp_path / 'alone.safetensors').as_posix()}}}"
    with pytest.raises(ValueError, match=r"tagger: is missing, and alone\.safetensors holds none; XL looks"):
        module("training.colorizer").build_model(experiment(start, f"clip={clip.as_posix()}"))
    found = module("training.colorizer").build_model(experiment(start, f"clip={clip.as_posix()}", f"tagger={file}"))
    assert found[2].tagger is not None


def test_a_tagger_for_a_model_that_takes_none_is_refused(module, of_version, files):
    with pytest.raises(ValueError, match="tagger: v2 looks at its references through CLIP alone"):
        module("training.colorizer").build_model(of_version("v2", f"tagger={files('XL')[0]}"))

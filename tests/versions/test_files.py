"""A checkpoint of every version: told from others, loaded, saved and loaded again, by our nodes and by the host's."""

import json

import pytest
import torch
from figures import FIGURES, FILES
from safetensors import safe_open
from safetensors.torch import save_file
from small import rand

SIZE = 8  # of a latent


@pytest.fixture
def golden(version, read_golden):
    return read_golden(FILES[version])


@pytest.fixture
def color(pack, node, version, figured):
    """`color(model)`: the latent after two steps, with a figure that has all that the version knows."""
    core, tokens = pack.colorize_core, figured(version, SIZE, **FIGURES[version])
    sketch = core.sketch.Sketch((rand(1, 3, 8 * SIZE, 8 * SIZE, seed=100) > 1).float() * 2 - 1)
    latent = {"samples": torch.zeros(1, 4, SIZE, SIZE)}

    def run(model):
        run = node("Sampler").execute(model, tokens, sketch, latent, 1, 2, 4.0, 1.0, "euler", "normal", 1.0)
        return run.result[0]["samples"]

    return run


@pytest.fixture
def save(tmp_path, models_dir):
    """`save(model)` by the host's Checkpoint Save: the name of the file, in models/checkpoints, and its keys."""
    import comfy_extras.nodes_model_merging as merging

    def run(model, name):
        merging.save_checkpoint(model, filename_prefix=name, output_dir=str(tmp_path))
        (saved,) = tmp_path.glob(f"{name}*.safetensors")
        with safe_open(saved, "pt") as file:
            keys = set(file.keys())
        return saved.rename(models_dir / "checkpoints" / f"{name}.safetensors").name, keys

    return run


def test_each_version_is_told_from_the_others_by_its_keys(pack, read_golden):
    versions = pack.colorize_core.versions
    for version, file in FILES.items():
        assert versions.detect_version(read_golden(file).weights).name == version


def test_what_belongs_to_the_unet_alone_is_stable_diffusion(pack, golden):
    """A v2 file too has nothing else of ColorizeDiffusion once its own networks are gone."""
    core = pack.colorize_core
    own = (*core.versions.v2.VERSION.marks, *core.versions.v1_5.VERSION.marks, "control_encoder.", "transformer.")
    plain = {key: value for key, value in golden.weights.items() if not any(mark in key for mark in own[:-1])}
    plain = {key: value for key, value in plain.items() if not key.startswith(own[-1])}
    plain = {key: value for key, value in plain.items() if ".lora_" not in key}
    assert core.versions.detect_version(plain) is None
    with pytest.raises(ValueError, match="has no sketch encoder"):
        core.versions.detect(plain, "sd.safetensors")


def test_an_export_for_diffusers_is_no_checkpoint(pack, golden):
    exported = {key.removeprefix("model.diffusion_model."): value for key, value in golden.weights.items()}
    with pytest.raises(ValueError, match="holds no denoiser"):
        pack.colorize_core.versions.detect(exported, "unet.safetensors")


@pytest.mark.parametrize(
    ("version", "prediction", "name"),
    [
        ("v1.5", "eps", "switch-eps"),
        ("v1.5", "eps", "mine"),
        ("v2", "v", "v2-full"),
        ("v2", "v", "mine"),
        ("v2", "eps", "mine-eps"),
    ],
)
def test_what_a_version_predicts(pack, read_golden, version, prediction, name):
    config = pack.colorize_core.versions.detect(read_golden(FILES[version]).weights, f"{name}.safetensors")
    assert (config.version.name, config.prediction) == (version, prediction)


def test_the_stock_loader_opens_it(core_node, version_file, version, model, color):
    stock = core_node("CheckpointLoaderSimple")(ckpt_name=version_file(FILES[version]))[0]
    assert type(stock.model) is type(model.model) and stock.model.config.version.name == version


def test_it_saves_and_loads_again_by_the_pack_and_by_the_host(node, core_node, save, golden, model, color, version):
    name, keys = save(model, f"saved-{version}-eps")
    assert keys - {"colorize_head_channels"} == golden.weights.keys()
    expected = color(model)
    assert torch.equal(color(node("LoadCheckpoint").execute(name, "eps").result[0]), expected)
    stock = core_node("CheckpointLoaderSimple")(ckpt_name=name)[0]
    if version == "v2":  # the stock loader knows no file names: what v2 usually predicts
        assert stock.model.model_type.name == "V_PREDICTION"
        stock = core_node("ModelSamplingDiscrete")(model=stock, sampling="eps", zsnr=False)[0]
        assert torch.allclose(color(stock), expected, atol=0.1 * expected.abs().mean())
    else:
        assert torch.equal(color(stock), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float8_e4m3fn])
def test_half_and_quarter_precision_files(node, models_dir, golden, color, version, dtype):
    """A CPU computes in float32, so all that is lost is what rounding the weights loses."""
    names = []
    small = {key: value.to(dtype) for key, value in golden.weights.items()}
    metadata = {"colorize_diffusion_config": json.dumps({"num_head_channels": golden.config["hd"]})}
    for weights in (small, {key: value.float() for key, value in small.items()}):
        names.append(f"{version}-{len(names)}-{str(dtype).removeprefix('torch.')}-eps.safetensors")
        save_file(weights, models_dir / "checkpoints" / names[-1], metadata)
    rounded, expected = (color(node("LoadCheckpoint").execute(name, "eps").result[0]) for name in names)
    assert torch.equal(rounded, expected)


def test_it_computes_in_half_precision(node, version_file, color, version, monkeypatch):
    from comfy.cli_args import args

    expected = color(node("LoadCheckpoint").execute(version_file(FILES[version]), "eps").result[0])
    monkeypatch.setattr(args, "fp16_unet", True)
    model = node("LoadCheckpoint").execute(version_file(FILES[version]), "eps").result[0]
    assert {p.dtype for p in model.model.diffusion_model.parameters()} == {torch.float16}
    assert (color(model) - expected).abs().mean() < 0.1 * expected.abs().mean()


@pytest.mark.parametrize(
    ("version", "gone"),
    [
        ("v1.5", "transformer.embedding"),
        ("v1.5", "transformer.layers.0.2.to_k.weight"),
        ("v1.5", "thresh_embedder.embed_layer.2.bias"),
        ("v1.5", "middle_block.1.transformer_blocks.0.attn2.to_k.lora_up_bg.weight"),
        ("v2", "warp_modules.3.attn.to_out.0.bias"),
        ("v2", "style_modules.11.2.weight"),
        ("v2", "style_encoder.label_emb.0.0.weight"),
        ("v2", "bg_encoder.zero_layers.4.weight"),
    ],
)
def test_a_file_with_a_weight_missing_is_refused(node, models_dir, read_golden, version, gone):
    rest = {key: value for key, value in read_golden(FILES[version]).weights.items() if not key.endswith(gone)}
    path = models_dir / "checkpoints" / "gap.safetensors"
    save_file(rest, path)
    with pytest.raises(ValueError, match=r"gap\.safetensors lacks"):
        node("LoadCheckpoint").execute(path.name)


def test_v2_has_no_model_of_cls_tokens(node, version_file):
    with pytest.raises(ValueError, match="token_type is cls, and v2 has models of the attention kind alone"):
        node("LoadCheckpoint").execute(version_file(FILES["v2"]), "eps", "cls")


def test_all_its_networks_are_part_of_the_model_s_memory(model, golden):
    """What the host moves, in parts if memory is short: every weight is that of a layer that it knows."""
    layers = {f"{name}.{key}" for _, _, name, _, parameters in model._load_list() for key in parameters}
    weights = {name for name, _ in model.model.named_parameters()}
    assert weights - layers <= {"diffusion_model.transformer.embedding"}
    assert model.model_size() >= sum(value.nbytes for value in golden.weights.values())

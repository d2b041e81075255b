"""Training in the real host: what it starts from, and that what it saves colors through the nodes."""

import importlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

DEMO = Path(__file__).parents[2] / "demo"
PREFIX = "model.diffusion_model."
SIDE = 64
EXPERIMENT = f"""
start: {{kind: checkpoint, file: {DEMO / "colorize-demo.safetensors"}}}
clip: {DEMO / "clip-demo.safetensors"}
data: {{root: pictures, resolutions: [{SIDE}], batch_size: 2, workers: 0}}
output: mine
strategy: {{noisy_rate: 0.5, drop_rate: 0.5, dual_weight: 0.5, sketch_drop_rate: 0.1, offset_noise: 0.05}}
training: {{steps: 2, learning_rate: 1e-4, accumulation: 2}}
samples: 1
"""
FROM_NOTHING = (
    "start={kind: nothing, shape: {model_channels: 32, channel_mult: [1, 1, 1, 1], context_dim: 64}}",
    f"vae={DEMO / 'colorize-demo.safetensors'}",
    "samples=0",
)


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


def randomize(module, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.2 if parameter.ndim > 1 else 0.1, generator=generator)
    return module


@pytest.fixture(scope="module")
def host_unet(module, tiny_config):
    """The host's own UNet in the shape of Stable Diffusion 2.1, small: its transformers' projections are linear."""
    import comfy.ops
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    arguments = module("host.unet").unet_arguments(tiny_config.unet) | {"use_linear_in_transformer": True}
    return randomize(UNetModel(**arguments, device="cpu", operations=comfy.ops.disable_weight_init).float())


@pytest.fixture
def stable_diffusion(host_unet, tiny_vae_state_dict, tmp_path):
    """`stable_diffusion(**changed)` writes a small checkpoint in SD 2.1's layout, without what is changed to None."""

    def write(name="sd.safetensors", **changed):
        weights = {PREFIX + key: value for key, value in host_unet.state_dict().items()} | tiny_vae_state_dict
        weights["cond_stage_model.model.ln_final.weight"] = torch.ones(8)
        kept = {key: value.contiguous() for key, value in (weights | changed).items() if value is not None}
        save_file(kept, tmp_path / name)
        return str(tmp_path / name)

    return write


def test_a_stable_diffusion_2_start_computes_what_the_hosts_own_unet_does(trainable, stable_diffusion, host_unet):
    start = trainable.load_start(stable_diffusion(), "stable_diffusion")
    latent, tokens = torch.randn(2, 4, 16, 16), torch.randn(2, 5, 48)
    t, sketch = torch.tensor([3, 800]), torch.randn(2, 3, 128, 128)
    with torch.no_grad():
        expected = host_unet(latent, t, context=tokens)
        actual = trainable.Colorizer(start.unet)(latent, t, tokens, sketch)
    assert expected.abs().mean() > 0.1
    torch.testing.assert_close(actual, expected, atol=1e-4 * expected.abs().mean().item(), rtol=0)


def test_stable_diffusion_2_predicts_what_its_weights_look_like_under_any_name(trainable, stable_diffusion):
    bias = f"{PREFIX}output_blocks.11.1.transformer_blocks.0.norm1.bias"
    for spread, prediction in ((0.05, "eps"), (0.2, "v")):
        file = stable_diffusion("mine.safetensors", **{bias: torch.tensor([-spread, spread]).repeat(16)})
        assert trainable.load_start(file, "stable_diffusion").config.prediction == prediction


def test_only_the_last_layers_of_the_new_sketch_encoder_are_zero_and_all_learn(trainable, stable_diffusion):
    start = trainable.load_start(stable_diffusion(), "stable_diffusion")
    zero = {name for name, weight in start.unet.control_encoder.named_parameters() if not weight.any()}
    layers = ["zero_layer.0", *(f"zero_blocks.{i}.0" for i in range(4))]
    assert zero == {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}
    assert all(weight.requires_grad and weight.dtype == torch.float32 for weight in start.unet.parameters())
    colorizer = trainable.Colorizer(start.unet)
    colorizer(
        torch.randn(1, 4, 8, 8), torch.tensor([5]), torch.randn(1, 4, 48), torch.randn(1, 3, 64, 64)
    ).sum().backward()
    assert start.unet.control_encoder.zero_layer[0].weight.grad.any()


def test_a_start_brings_the_vae_of_its_file(trainable, stable_diffusion, tiny_vae_state_dict):
    assert trainable.load_start(stable_diffusion(), "stable_diffusion").vae.keys() == tiny_vae_state_dict.keys()


def test_a_published_file_starts_as_it_is(trainable, golden_checkpoint, golden_state_dict):
    start = trainable.load_start(str(golden_checkpoint), "checkpoint")
    saved = start.unet.state_dict()
    assert start.vae == {} and torch.equal(
        saved["control_encoder.model.0.weight"], golden_state_dict["control_encoder.model.0.weight"]
    )
    key = "middle_block.1.proj_in.weight"
    assert torch.equal(saved[key], golden_state_dict[PREFIX + key])


def test_stable_diffusion_1_is_refused_by_name(trainable, stable_diffusion, host_unet):
    linear = {
        PREFIX + key: value[..., None, None]
        for key, value in host_unet.state_dict().items()
        if key.endswith(("proj_in.weight", "proj_out.weight"))
    }
    with pytest.raises(ValueError, match=r"sd1\.safetensors is a Stable Diffusion checkpoint, but none of version 2"):
        trainable.load_start(stable_diffusion("sd1.safetensors", **linear), "stable_diffusion")


def test_an_inpainting_model_is_refused(trainable, stable_diffusion):
    nine = {f"{PREFIX}input_blocks.0.0.weight": torch.zeros(32, 9, 3, 3)}
    with pytest.raises(ValueError, match="text to image"):
        trainable.load_start(stable_diffusion(**nine), "stable_diffusion")


def test_an_incomplete_start_is_named_with_what_it_lacks(trainable, stable_diffusion):
    with pytest.raises(ValueError, match=r"half\.safetensors lacks 1 of the .* weights, out\.2\.bias"):
        trainable.load_start(stable_diffusion("half.safetensors", **{f"{PREFIX}out.2.bias": None}), "stable_diffusion")


def test_another_kind_of_file_is_no_start(trainable, golden_clip):
    with pytest.raises(ValueError, match=r"tiny-clip\.safetensors holds no denoiser"):
        trainable.load_start(str(golden_clip), "checkpoint")


def test_a_start_of_the_other_kind_says_which_it_is(trainable, stable_diffusion, golden_checkpoint):
    with pytest.raises(
        ValueError, match=r"sd\.safetensors is a Stable Diffusion checkpoint .*: set kind to stable_diff"
    ):
        trainable.load_start(stable_diffusion(), "checkpoint")
    with pytest.raises(ValueError, match=r"tiny-eps\.safetensors is no Stable Diffusion checkpoint"):
        trainable.load_start(str(golden_checkpoint), "stable_diffusion")


def test_what_is_saved_starts_again_and_says_what_it_predicts(module, trainable, stable_diffusion, tmp_path):
    start = trainable.load_start(stable_diffusion("v-pred.safetensors"), "stable_diffusion")
    randomize(start.unet.control_encoder)
    path = tmp_path / "any-name.safetensors"
    module("training.export").save_checkpoint(path, start.config, start.unet.state_dict(), start.vae)
    again = trainable.load_start(str(path), "checkpoint")
    assert start.config.prediction == "v" and again.config == start.config and again.vae.keys() == start.vae.keys()
    saved = again.unet.state_dict()
    assert all(torch.equal(saved[key], value.half().float()) for key, value in start.unet.state_dict().items())
    assert list(tmp_path.glob("any-name*")) == [path]


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


def test_a_model_trained_from_a_published_file_colors_through_the_nodes(run, module, experiment, colors, tmp_path):
    run(experiment())
    file = tmp_path / "mine" / "mine.safetensors"
    start, trained = load_file(DEMO / "colorize-demo.safetensors"), load_file(file)
    assert trained.pop("colorize_head_channels").tolist() == [16, 0, 0]
    assert trained.keys() == start.keys()
    moved = {key for key, value in trained.items() if not torch.equal(value, start[key])}
    assert any(key.startswith("control_encoder.") for key in moved) and any(key.startswith(PREFIX) for key in moved)
    assert not any(key.startswith("first_stage_model.") for key in moved)

    sheet = np.asarray(Image.open(tmp_path / "mine" / "sheets" / "00000002.png"))
    assert sheet.shape == (SIDE, 5 * SIDE, 3)
    result = colors(file)[0].mul(255).numpy()
    assert np.abs(result - sheet[:, 2 * SIDE : 3 * SIDE]).mean() < 2  # the sheet shows what the nodes make
    assert result.std() > 20


def test_a_training_goes_on_with_the_strategy_that_it_began_with_or_says_so(run, module, experiment, tmp_path):
    run(experiment(*FROM_NOTHING, "training.steps=1"))
    moved = shutil.move(tmp_path / "pictures", tmp_path / "elsewhere")
    run(experiment(*FROM_NOTHING, f"data.root={moved}", "data.workers=1"))
    assert (tmp_path / "mine" / "step-00000002").is_dir()
    with pytest.raises(ValueError, match=r"step-00000002 was trained with strategy\.drop_rate 0\.5, not 0\.25"):
        run(experiment(*FROM_NOTHING, f"data.root={moved}", "strategy.drop_rate=0.25"))


def test_sheets_lie_beside_the_curves_in_a_run_of_their_own(module, tmp_path):
    for steps in (5, 10):
        module("training.results").save_sheet(torch.rand(3, 8, 24), tmp_path, steps, tensorboard=True)
    assert [file.name for file in sorted((tmp_path / "sheets").iterdir())] == ["00000005.png", "00000010.png"]
    assert [path.name for path in (tmp_path / "tensorboard").iterdir()] == ["sheets"]
    assert len(list((tmp_path / "tensorboard" / "sheets").iterdir())) == 2


def test_other_pictures_stand_in_on_a_sheet_for_those_that_cannot_be_read(module, experiment, tmp_path):
    pictures = module("training.data").PictureFolder(tmp_path / "pictures")
    assert len(pictures) == 4

    def chosen(count):
        return module("training.validation").choose(pictures, experiment(), count)

    whole = chosen(4)
    assert torch.equal(chosen(2).sketch, whole.sketch[::2])
    for name in pictures.names[:3]:
        (tmp_path / "pictures" / "sketch" / f"{name}.png").write_bytes(b"no picture")
    assert torch.equal(chosen(2).sketch, whole.sketch[3:])
    (tmp_path / "pictures" / "sketch" / f"{pictures.names[3]}.png").write_bytes(b"no picture")
    assert chosen(2) is None


def test_a_sheet_that_runs_out_of_memory_does_not_end_the_training(
    run, module, experiment, tmp_path, monkeypatch, caplog
):
    def out_of_memory(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(module("training.validation"), "color_samples", out_of_memory)
    run(experiment(*FROM_NOTHING[:2], "training.steps=1"))
    assert "no sheet at step 1: out of memory; set samples and validation.share to 0" in caplog.text
    assert (tmp_path / "mine" / "mine.safetensors").is_file() and not (tmp_path / "mine" / "sheets").exists()


def test_a_training_that_wants_tensorboard_where_there_is_none_does_not_start(run, module, experiment, monkeypatch):
    settings = experiment("training.tensorboard=true")
    module("training.processes")  # first: what it imports looks for packages too
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="tensorboard is missing: pip install"):
        run(settings)


def test_a_model_trained_from_nothing_colors_through_the_nodes(run, module, experiment, colors, tmp_path):
    run(experiment(*FROM_NOTHING))
    file = tmp_path / "mine" / "mine.safetensors"
    assert colors(file).isfinite().all()
    assert not (tmp_path / "mine" / "sheets").exists()


def test_training_sees_what_the_nodes_make_of_a_picture(module, experiment, core_node):
    colorizer = module("training.colorizer")
    settings = experiment()
    encoders = module("training.encoders").load_encoders(settings, colorizer.build_start(settings))
    picture = torch.rand(1, SIDE, SIDE, 3)
    part = {key: picture.movedim(-1, 1) * 2 - 1 for key in ("color", "reference")}
    latent, tokens = encoders.encode(part)
    expected = core_node("VAEEncode")(vae=encoders.vae, pixels=picture)[0]["samples"] * 0.18215
    torch.testing.assert_close(latent, expected, atol=1e-4, rtol=1e-4)
    expected = module("host.clip").encode_reference(encoders.clip_vision, picture).local
    torch.testing.assert_close(tokens, expected, atol=1e-4, rtol=1e-4)
    assert not latent.requires_grad and not tokens.requires_grad


def test_a_model_of_the_cls_kind_is_trained_and_shown_with_cls_tokens(
    run, module, experiment, node, models_dir, tmp_path, monkeypatch, caplog
):
    colorizer = module("training.colorizer")
    settings = experiment("token_type=cls", "training.steps=1")
    encoders = module("training.encoders").load_encoders(settings, colorizer.build_start(settings))
    picture = torch.rand(2, SIDE, SIDE, 3)
    part = {key: picture.movedim(-1, 1) * 2 - 1 for key in ("color", "reference")}
    expected = module("host.clip").encode_reference(encoders.clip_vision, picture).cls
    torch.testing.assert_close(encoders.encode(part)[1], expected, atol=1e-4, rtol=1e-4)

    kinds = []

    def colored(model, encoders, samples):
        kinds.append(model.model.config.token_type)
        return module("training.validation").Colored(samples.color, samples.color)

    monkeypatch.setattr(module("training.validation"), "color_samples", colored)
    run(settings)
    assert kinds == ["cls"] and not caplog.text
    shutil.copy(tmp_path / "mine" / "mine.safetensors", models_dir / "checkpoints")
    mine = f"start={{kind: checkpoint, file: {(tmp_path / 'mine' / 'mine.safetensors').as_posix()}}}"
    colorizer.build_start(experiment(mine, "token_type=cls"))
    assert not caplog.text
    warning = "mine.safetensors was trained with token_type cls, and attention is chosen"
    for read in (
        lambda: node("LoadCheckpoint").execute("mine.safetensors"),
        lambda: colorizer.build_start(experiment(mine)),
    ):
        caplog.clear()
        read()
        assert warning in caplog.text
    with pytest.raises(ValueError, match="step-00000001 was trained with token_type cls, not attention"):
        run(experiment())


def test_a_vae_with_other_latents_is_named(run, module, load_module, experiment, tmp_path):
    ddconfig = load_module("demo.vae").DDCONFIG | {"z_channels": 16}
    wide = module("host.trainable").build_autoencoder(ddconfig)
    save_file(wide.state_dict(), tmp_path / "wide.safetensors")
    settings = experiment(FROM_NOTHING[0], f"vae={tmp_path / 'wide.safetensors'}")
    with pytest.raises(ValueError, match=r"vae: the latents of wide\.safetensors have 16 channels .* takes 4"):
        run(settings)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((FROM_NOTHING[0], "vae=pictures/color/00000.png"), "00000.png is no model file"),
        ((FROM_NOTHING[0], f"vae={DEMO / 'clip-demo.safetensors'}"), r"vae: clip-demo\.safetensors holds none"),
        ((f"clip={DEMO / 'colorize-demo.safetensors'}",), r"colorize-demo\.safetensors is not a CLIP"),
        (
            (FROM_NOTHING[0].replace("64", "1024"), FROM_NOTHING[1]),
            r"clip: the tokens of clip-demo\.safetensors are 64 wide and the model takes 1024",
        ),
    ],
)
def test_files_that_do_not_fit_are_named(run, module, experiment, overrides, message):
    with pytest.raises(ValueError, match=message):
        run(experiment(*overrides))


# Pictures that are held out


def test_each_save_measures_pictures_that_were_held_out_after_their_own_references_and_others(
    run, module, experiment, tmp_path, monkeypatch, capsys
):
    seen, load = set(), module("training.data").PictureFolder.load

    def watched(pictures, name, *rest):
        seen.add((name, rest[4].warp))  # references on sheets are as they are
        return load(pictures, name, *rest)

    monkeypatch.setattr(module("training.data").PictureFolder, "load", watched)
    run(experiment("validation={share: 0.51, count: 2}", "training.save_every=1"))
    assert "held out   2 pictures" in capsys.readouterr().out
    heading, *rows = (row.split(",") for row in (tmp_path / "mine" / "validation.csv").read_text().splitlines())
    kinds = ("loss", "color_error", "line_fidelity")
    assert heading == ["step", *(f"{kind}_{match}" for match in ("matched", "mismatched") for kind in kinds)]
    assert [row[0] for row in rows] == ["1", "2"] and all(len(row) == len(heading) for row in rows)
    held_out = {name for name, warp in seen if warp == 0}
    assert len(held_out) == 2 and not held_out & {name for name, warp in seen if warp > 0}
    sheet = np.asarray(Image.open(tmp_path / "mine" / "sheets" / "00000002.png"))
    own, other = (sheet[:, k * SIDE : (k + 1) * SIDE] for k in (1, 3))
    assert np.abs(own.astype(int) - other).mean() > 5


def test_a_dry_run_says_what_it_takes_trains_a_step_and_leaves_nothing(module, experiment, tmp_path, capsys):
    settings = experiment()
    accelerator = module("training.processes").start_processes()
    module("training.colorizer").run(settings, accelerator, dry=True)
    said = capsys.readouterr().out
    assert "Memory at 64 pixels, 1 pictures at once" in said and "one step" in said
    parts = {line[:13].strip(): line[14:].split()[0] for line in said.splitlines() if line.endswith("GiB")}
    assert list(parts) == ["weights", "gradients", "optimizer", "average", "VAE and CLIP", "activations", "together"]
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize("changes", [{}, {"gradient_checkpointing": True}, {"ema_on_cpu": True}, {"ema": 0.0}])
def test_memory_by_part_is_that_of_the_tensors(module, experiment, changes):
    settings = experiment()
    settings = replace(settings, training=replace(settings.training, **changes))
    config = module("versions.v1").v1_config(model_channels=32, channel_mult=(1, 1, 2, 2), context_dim=48)
    unet = module("host.trainable").build_unet(config)
    weights = 4 * sum(weight.numel() for weight in unet.parameters())
    parts = module("training.memory_plan").memory_by_part(settings, config, 0, rows=1)
    average = weights if changes in ({}, {"gradient_checkpointing": True}) else 0
    assert (parts["weights"], parts["gradients"], parts["optimizer"]) == (weights, weights, 2 * weights)
    assert parts["average"] == average
    if not changes:  # what PyTorch holds of a real pass, beside the weights, for 2 rows: the loss is dual
        held = {}
        own = {weight.untyped_storage().data_ptr() for weight in unet.parameters()}

        def save(tensor):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                held[storage.data_ptr()] = storage.nbytes()
            return tensor

        inputs = torch.randn(2, 4, 8, 8), torch.zeros(2, dtype=torch.long), torch.randn(2, 256, 48)
        with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
            output = module("host.trainable").Colorizer(unet)(*inputs, torch.randn(2, 3, 64, 64))
        assert output.requires_grad and parts["activations"] == pytest.approx(sum(held.values()), rel=0.02)


# Parts of the weights


@pytest.mark.parametrize(
    ("part", "moves"),
    [
        ("attention", lambda name: ".attn" in name and name.startswith(PREFIX)),
        ("sketch_encoder", lambda name: name.startswith("control_encoder.")),
    ],
)
def test_only_the_part_that_is_trained_moves(run, experiment, tmp_path, part, moves):
    run(experiment(f"weights={{part: {part}}}", "samples=0", "training.learning_rate=0.01"))
    start, trained = load_file(DEMO / "colorize-demo.safetensors"), load_file(tmp_path / "mine" / "mine.safetensors")
    moved = {name for name, weight in start.items() if not torch.equal(weight, trained[name])}
    assert moved and all(moves(name) for name in moved)


def test_a_lora_is_read_by_the_hosts_loader_and_colors_as_its_training_shows(
    run, module, experiment, node, core_node, models_dir, tmp_path, monkeypatch
):
    results, patchers = module("training.results"), []
    build = results.patcher_of
    monkeypatch.setattr(results, "patcher_of", lambda *inputs: patchers.append(build(*inputs)) or patchers[-1])
    run(experiment("weights={part: lora, rank: 4, alpha: 8}", "training={steps: 2, learning_rate: 0.01, ema: 0}"))
    file = tmp_path / "mine" / "mine.safetensors"
    lora = load_file(file)
    assert {name.rpartition(".lora_")[2] for name in lora if ".lora_" in name} == {"A.weight", "B.weight"}
    assert file.stat().st_size < 500_000 and all(name.startswith("diffusion_model.") for name in lora)

    shutil.copy(file, models_dir / "loras" / "mine.safetensors")
    shutil.copy(DEMO / "colorize-demo.safetensors", models_dir / "checkpoints")
    model, _ = node("LoadCheckpoint").execute("colorize-demo.safetensors").result
    (patched,) = core_node("LoraLoaderModelOnly")(model=model, lora_name="mine.safetensors", strength_model=1.0)
    key = "diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_v.weight"
    applied = patched.patch_weight_to_device(key, device_to=torch.device("cpu"), return_weight=True)
    plain = model.model.state_dict()[key]
    expected = patchers[0].model.state_dict()[key]
    assert (expected.float() - plain.float()).abs().max() > 1e-3
    torch.testing.assert_close(applied.float(), expected.float(), atol=1e-3, rtol=1e-2)
    assert len(patched.patches) == 4 * len([name for name in lora if name.endswith("attn2.to_q.lora_A.weight")]) * 2


def test_a_lora_goes_on_where_it_was(run, experiment, tmp_path):
    lora = ("weights.part=lora", "samples=0", "training.save_every=1")
    run(experiment(*lora, "training.steps=1"))
    assert sum(path.stat().st_size for path in (tmp_path / "mine" / "step-00000001").iterdir()) < 8_000_000
    run(experiment(*lora))
    run(experiment(*lora, f"output={tmp_path / 'once'}"))
    for name in ("mine/mine.safetensors", "once/once.safetensors"):
        lora = load_file(tmp_path / name)
    assert lora.keys() == load_file(tmp_path / "mine" / "mine.safetensors").keys()
    for name, weight in load_file(tmp_path / "mine" / "mine.safetensors").items():
        assert torch.equal(weight, lora[name])


def test_blocks_that_are_computed_again_have_the_same_gradients(module, trainable, tiny_config):
    inputs = torch.randn(1, 4, 16, 16), torch.tensor([5]), torch.randn(1, 4, 48), torch.randn(1, 3, 128, 128)
    gradients = []
    for again in (False, True):
        torch.manual_seed(0)
        unet = randomize(trainable.build_unet(tiny_config))
        if again:
            module("host.gradient_checkpointing").checkpoint_blocks(unet)
        trainable.Colorizer(unet)(*inputs).square().mean().backward()
        gradients.append([weight.grad for weight in unet.parameters()])
    for plain, computed_again in zip(*gradients, strict=True):
        torch.testing.assert_close(computed_again, plain)

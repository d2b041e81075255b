"""What is trained colors through the nodes; and what a training sees is what they make of a picture."""

import importlib
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from small_training import DEMO, FROM_NOTHING, PREFIX, SIDE


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

import copy
import json
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from colorize_core.training import experiment
from colorize_core.training.config import load, with_overrides
from colorize_core.training.deformation import Deformation
from colorize_core.training.experiment import Experiment, Shape
from colorize_core.training.settings import TrainingSettings
from colorize_core.training.strategies import Strategy

SHARE = st.floats(0, 1)
NAMES = st.sampled_from("abcd")
VALUES = st.integers() | st.booleans() | st.lists(st.integers(), max_size=3) | st.text("xyz", min_size=1)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """The experiment that the module shows, with the files that it names."""
    folder = tmp_path_factory.mktemp("experiment")
    (folder / "pictures").mkdir()
    for name in ("mult-eps-ft.safetensors", "open_clip_model.safetensors", "vae.safetensors"):
        (folder / name).touch()
    lines = [line[4:] for line in experiment.__doc__.splitlines() if line.startswith("    ")]
    path = folder / "noisy.yaml"
    path.write_text("\n".join(lines))
    return path


def test_the_experiment_that_the_module_shows_is_read(written):
    read = load(written)
    assert read.start.kind == "checkpoint" and read.start.shape is None
    assert read.data.resolutions == (512,) and read.data.batch_size == 16
    assert read.strategy == Strategy(noisy_rate=1.0) and read.deformation == Deformation()
    assert read.training == TrainingSettings(steps=20000, learning_rate=1e-5)
    assert (read.prediction, read.vae, read.samples) == ("auto", None, 4)


def test_paths_are_relative_to_the_file(written, monkeypatch):
    monkeypatch.chdir("/")
    read = load(written, ["vae=vae.safetensors"])
    folder = written.parent
    assert (read.clip, read.start.file) == (folder / "open_clip_model.safetensors", folder / "mult-eps-ft.safetensors")
    assert (read.data.root, read.output, read.vae) == (
        folder / "pictures",
        folder / "runs" / "noisy",
        folder / "vae.safetensors",
    )
    assert load(written, [f"clip={read.vae}"]).clip == read.vae


def test_a_model_from_nothing_has_a_shape(written):
    file = "start={kind: nothing, shape: {model_channels: 32, channel_mult: [1, 2, 2, 2], context_dim: 64}}"
    assert load(written, [file, "vae=vae.safetensors"]).start.shape == Shape(32, (1, 2, 2, 2), 64)
    assert load(written, ["start={kind: nothing, shape: {}}", "vae=vae.safetensors"]).start.shape == Shape()


@settings(max_examples=20, deadline=None)
@given(
    st.builds(Strategy, SHARE, SHARE, SHARE, SHARE, SHARE, st.none() | st.floats(0.1, 20)),
    st.builds(Deformation, warp=st.floats(0, 0.5), control_points=st.integers(2, 9), flip=SHARE),
    st.builds(
        TrainingSettings,
        st.integers(1),
        learning_rate=st.floats(1e-9, 1),
        mixed_precision=st.sampled_from(["no", "bf16"]),
    ),
)
def test_sections_as_yaml_writes_them_are_read_as_they_were(written, strategy, deformation, training):
    sections = {"strategy": asdict(strategy), "deformation": asdict(deformation), "training": asdict(training)}
    sections["training"]["betas"] = list(training.betas)
    path = written.with_name("again.yaml")
    YAML(typ="safe").dump(YAML(typ="safe").load(written.read_text()) | sections, path)
    read = load(path)
    assert (read.strategy, read.deformation, read.training) == (strategy, deformation, training)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("learning_rate=1e-5", 1e-5),
        ("learning_rate=2.5E+3", 2500.0),
        ("learning_rate=1", 1.0),
        ("mixed_precision=no", "no"),
        ("tensorboard=true", True),
        ("betas=[0, 0.9]", (0.0, 0.9)),
    ],
)
def test_numbers_and_words_are_what_they_look_like(written, text, value):
    name = text.partition("=")[0]
    read = getattr(load(written, [f"training.{text}"]).training, name)
    assert read == value and type(read) is type(value)


def test_a_section_of_comments_alone_is_an_empty_one(written):
    assert load(written, ["strategy="]).strategy == Strategy()


# Overrides


@settings(max_examples=60, deadline=None)
@given(
    content=st.recursive(VALUES, lambda inner: st.dictionaries(NAMES, inner, max_size=3), max_leaves=6),
    keys=st.lists(NAMES, min_size=1, max_size=3),
    value=VALUES,
)
def test_an_override_changes_its_key_and_nothing_else(content, keys, value):
    mapping = {"top": content}
    before = copy.deepcopy(mapping)
    override = f"{'.'.join(['top', *keys])}={json.dumps(value)}"
    old = content
    for key in keys[:-1]:
        old = old.get(key, {}) if isinstance(old, dict) else old
    if not isinstance(old, dict):
        with pytest.raises(ValueError, match="which has no keys"):
            with_overrides(mapping, [override])
        return

    old, new = content, with_overrides(mapping, [override])["top"]
    assert mapping == before
    for key in keys[:-1]:
        assert new == old | {key: new[key]}
        old, new = old.get(key, {}), new[key]
    assert new == old | {keys[-1]: value}


def test_the_last_of_several_overrides_holds(written):
    read = load(written, ["training.steps=3", "deformation.warp=0", "training.steps=4"])
    assert (read.training.steps, read.deformation.warp) == (4, 0)


# What is wrong


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("traning.steps=3", "traning: is {'steps': 3}, but no such key exists; allowed are start, clip, data, output"),
        ("training.stepz=3", "training.stepz: is 3, but no such key exists; allowed are steps, learning_rate"),
        ("data={batch_size: 4}", "data.root: is missing."),
        ("start={file: x}", "start.kind: is missing."),
        ("training.steps=many", "training.steps: is 'many'; allowed is a valid integer"),
        ("training.steps=1.5", "training.steps: is 1.5; allowed is a valid integer"),
        ("training.steps=true", "training.steps: is True; allowed is a valid integer"),
        ("training.learning_rate=.nan", "training.learning_rate: is nan; allowed is a finite number"),
        ("training.learning_rate=[1]", "training.learning_rate: is [1]; allowed is a valid number"),
        ("training.tensorboard=yes", "training.tensorboard: is 'yes'; allowed is a valid boolean"),
        ("training.betas=[0.9]", "training.betas[1]: is missing."),
        ("data.resolutions=512", "data.resolutions: is 512; allowed is a valid array"),
        ("data.resolutions=[512, x]", "data.resolutions[1]: is 'x'; allowed is a valid integer"),
        ("data.polarity=off", "data.polarity: is 'off'; allowed is 'auto', 'black lines on white' or 'white lines"),
        ("data=pictures", "data: is 'pictures'; allowed is a section with root, batch_size"),
        ("clip=7", "clip: is 7; allowed is a valid string"),
        ("prediction=x0", "prediction: is 'x0'; allowed is 'auto', 'eps' or 'v'"),
        ("strategy.drop_rate=1.5", "strategy.drop_rate: 1.5 is not a share of the samples"),
        ("deformation.warp=-1", "deformation.warp: -1.0 is not a share of the picture"),
        ("data.batch_size=0", "data.batch_size: is 0; allowed is 1 or more"),
        ("training.ema=1", "training.ema"),
        ("training.clip_norm=0", "training.clip_norm: is 0.0; allowed is more than 0"),
        ("training.accumulation=3", "training.accumulation: is 3; allowed are divisors of data.batch_size, 16"),
        ("samples=-1", "samples: is -1; allowed is 0 (none) or more"),
        ("samples.x=1", "samples: is {'x': 1}; allowed is a valid integer"),
        ("training.steps.x=1", "training.steps.x=1: leads into 20000, which has no keys"),
        ("training.steps", "training.steps: is no override; write section.key=value"),
        (
            "start={kind: nothing, shape: {model_channels: 48}}",
            "start.shape.model_channels: is 48; allowed are multiples of 32",
        ),
        (
            "start={kind: nothing, shape: {model_channels: 160}}",
            "start.shape.num_head_channels: is 64, which does not divide",
        ),
        (
            "start={kind: nothing, shape: {model_channels: 64, num_head_channels: 24}}",
            "start.shape.num_head_channels: is 24, which does not divide",
        ),
        ("start.kind=nothing", "start.kind: is nothing, which takes a `shape` and no `file`"),
        ("start.shape={}", "start.kind: is checkpoint, which takes a `file` and no `shape`"),
        ("start={kind: nothing, shape: {}}", "vae: is missing; a start from nothing needs the file of a VAE"),
        ("start={kind: nothing, shape: {channel_mult: [1, 2]}}", "start.shape.channel_mult: is [1, 2]; allowed are 4"),
        ("start={kind: nothing, shape: {context_dim: 0}}", "start.shape.context_dim: is 0; allowed is 1 or more"),
    ],
)
def test_what_is_wrong_is_said_with_its_key_its_value_and_what_is_allowed(written, override, message):
    with pytest.raises(ValueError) as error:
        load(written, [override])
    assert str(error.value).startswith(f"{written}: {message}")


@pytest.mark.parametrize(
    ("key", "kind"), [("data.root", "folder"), ("clip", "file"), ("vae", "file"), ("start.file", "file")]
)
def test_what_is_not_there_is_said_with_its_key_and_where_it_was_looked_for(written, key, kind):
    with pytest.raises(ValueError) as error:
        load(written, [f"{key}=elsewhere"])
    assert str(error.value) == f"{written}: {key}: is {written.parent / 'elsewhere'}, and there is no such {kind}."


def test_a_file_that_is_missing_empty_or_no_yaml_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "mine.yaml"
    with pytest.raises(ValueError, match=r"mine\.yaml, and there is no such file"):
        load(path)
    path.write_text("# nothing yet")
    with pytest.raises(ValueError, match=r"mine\.yaml: start: is missing\.\n.*clip: is missing"):
        load(path)
    path.write_text("start: [")
    with pytest.raises(ValueError, match=r"mine\.yaml: "):
        load(path)
    path.write_text("start: 1\nclip: 2\nstart: 3")
    with pytest.raises(ValueError, match=r'mine\.yaml: line 3: found duplicate key "start"'):
        load(path)
    path.write_text("- start")
    with pytest.raises(
        ValueError, match=r"mine\.yaml: the file: is \['start'\]; allowed is a section with start, clip"
    ):
        load(path)


def test_an_experiment_cannot_be_changed(written):
    with pytest.raises(AttributeError):
        load(written).samples = 3
    assert isinstance(load(written), Experiment)

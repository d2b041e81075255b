"""The command that trains, and the experiments that come with it."""

import dataclasses
import re
import subprocess
import sys
from dataclasses import is_dataclass
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from colorize_core.host import standalone
from colorize_core.training import config, experiment
from colorize_core.training.experiment import Experiment

ROOT = Path(__file__).parents[3]
EXPERIMENTS = sorted((ROOT / "training").glob("*.yaml"))


def test_help_says_what_to_give_without_loading_anything():
    asked = [sys.executable, "-S", "-m", "colorize_core.training", "--help"]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "accelerate launch" in done.stdout and "--set KEY=VALUE" in done.stdout


def keys(kind, section=""):
    """(key, default) of every field of an experiment; of its sections, theirs."""
    types = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        key = section + field.name
        choices = [choice for choice in (types[field.name], *get_args(types[field.name])) if is_dataclass(choice)]
        if not choices or field.default is None:
            yield key, field.default
        for choice in choices:
            yield from keys(choice, f"{key}.")


def test_every_key_of_an_experiment_is_explained_with_its_default():
    rows = re.findall(r"^\| `(.+?)` \| (.+?) \| .+ \|$", (ROOT / "training" / "README.md").read_text(), re.MULTILINE)
    words = {"needed": dataclasses.MISSING, "none": None}
    explained = {key: words[cell] if cell in words else config.read_yaml(cell.strip("`")) for key, cell in rows}
    assert explained == {key: list(value) if isinstance(value, tuple) else value for key, value in keys(Experiment)}


def test_without_its_packages_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(standalone.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"accelerate is missing: pip install -r .*requirements-train\.txt$"):
        standalone.require("accelerate")


def comfyui(folder):
    (folder / "comfy").mkdir(parents=True)
    return folder


@pytest.fixture
def find(monkeypatch, tmp_path):
    """`find()`: the folder that is put on the path for a pack in ComfyUI/custom_nodes/pack, or None."""
    monkeypatch.setattr(standalone.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(standalone, "PACK", tmp_path / "ComfyUI" / "custom_nodes" / "pack")
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    monkeypatch.setattr(sys, "path", [])

    def run():
        standalone.find_comfyui()
        return Path(sys.path[0])

    return run


def test_comfyui_is_the_one_that_the_pack_lies_in(find, tmp_path):
    assert comfyui(tmp_path / "ComfyUI").resolve() == find()


def test_a_pack_at_the_top_of_a_disk_takes_comfyui_path(find, tmp_path, monkeypatch):
    monkeypatch.setattr(standalone, "PACK", Path(tmp_path.anchor) / "pack")
    monkeypatch.setenv("COMFYUI_PATH", str(comfyui(tmp_path / "another")))
    assert find() == (tmp_path / "another").resolve()


def test_comfyui_path_comes_first(find, tmp_path, monkeypatch):
    comfyui(tmp_path / "ComfyUI")
    monkeypatch.setenv("COMFYUI_PATH", str(comfyui(tmp_path / "another")))
    assert find() == (tmp_path / "another").resolve()


def test_without_comfyui_it_says_where_to_put_the_pack(find):
    with pytest.raises(SystemExit, match="ComfyUI/custom_nodes, or set COMFYUI_PATH"):
        find()


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.stem)
def test_the_experiments_that_come_with_it_are_valid(file, tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "check_file", lambda key, path: None)
    assert config.load(file, [f"data.root={tmp_path}"]).output.parent.resolve() == ROOT / "out"

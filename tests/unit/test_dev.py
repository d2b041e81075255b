"""dev.py says where things are and takes files from where the user stands."""

from types import SimpleNamespace

import pytest

import dev


def test_an_experiment_is_named_from_where_the_user_stands_or_else_from_this_folder(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(dev, "run_python", lambda *arguments, **_: given.extend(arguments[2:]) or 0)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").touch()
    dev.train("mine.yaml", "training/demo.yaml", "--set", "training.steps=3")
    assert given == [str((tmp_path / "mine.yaml").resolve()), "training/demo.yaml", "--set", "training.steps=3"]


@pytest.mark.parametrize(("flags", "port"), [((), 8188), (("--cpu", "--port", "9000"), 9000), (("--port=9001",), 9001)])
def test_serve_says_where_comfyui_will_be(flags, port, monkeypatch, capsys):
    monkeypatch.setattr(dev, "install_demo", lambda base: None)
    monkeypatch.setattr(dev, "comfyui_command", lambda base, *flags: flags)
    monkeypatch.setattr(dev.subprocess, "run", lambda command: SimpleNamespace(returncode=command))
    assert dev.serve(*flags) == ("--preview-method", "auto", *flags)
    assert f"http://127.0.0.1:{port} " in capsys.readouterr().out

"""Workers: results are moved whole and by name; reports and contact sheets; where ComfyUI is."""

import json
from pathlib import Path

import pytest
from PIL import Image

from colorize_batch import worker
from colorize_batch.jobs import Job
from colorize_batch.report import contact_sheet, write_contact_sheets, write_report
from colorize_batch.schedule import Outcome
from colorize_batch.worker import comfyui_folder, publish


def contents(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def saved(tmp_path):
    """`saved("ComfyUI_1.png", ...)`: a folder in which ComfyUI saved such files, whose text is their name."""

    def make(*names: str) -> Path:
        for name in names:
            path = tmp_path / "output" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
        return tmp_path / "output"

    return make


def test_a_result_has_the_drawings_name_and_its_own_ending(saved, tmp_path):
    files = publish(saved("layers/ComfyUI_00001_.psd", "ComfyUI_00001_.png"), tmp_path / "out", "a/1")
    assert set(files) == {tmp_path / "out/a/1.png", tmp_path / "out/a/1.psd"}
    assert contents(tmp_path / "out") == {"a/1.png": "ComfyUI_00001_.png", "a/1.psd": "layers/ComfyUI_00001_.psd"}


def test_more_files_of_a_kind_are_numbered_in_natural_order(saved, tmp_path):
    publish(saved("x_10.png", "x_9.png", "x_11.png"), tmp_path / "out", "1")
    assert contents(tmp_path / "out") == {"1.png": "x_9.png", "1.2.png": "x_10.png", "1.3.png": "x_11.png"}


def test_a_workflow_that_saves_nothing_says_what_it_needs(saved, tmp_path):
    with pytest.raises(ValueError, match="saved nothing: it needs a Save Image node"):
        publish(saved("x.png").parent / "empty", tmp_path / "out", "1")


def test_comfyui_is_the_given_one_or_the_environments_or_else_a_sentence(tmp_path, monkeypatch):
    for name in ("given", "environment"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "main.py").touch()
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path / "environment"))
    assert comfyui_folder(tmp_path / "given") == tmp_path / "given"
    assert comfyui_folder(None) == tmp_path / "environment"
    monkeypatch.delenv("COMFYUI_PATH")
    monkeypatch.setattr(worker, "PACK", tmp_path / "a" / "b" / "c")
    with pytest.raises(ValueError, match=r"There is no ComfyUI in .*: name its folder with --comfyui"):
        comfyui_folder(None)


@pytest.fixture
def outcomes(tmp_path):
    """One result that is done, one that exists, one failed drawing that is no picture."""
    results = []
    for name, color in (("a", "red"), ("b", "lime")):
        (tmp_path / "out").mkdir(exist_ok=True)
        Image.new("RGB", (300, 100), color).save(tmp_path / "out" / f"{name}.png")
        results.append((Job(name, tmp_path / f"{name}.png", {}), (tmp_path / "out" / f"{name}.png",)))
    (tmp_path / "c.png").write_text("no picture")
    (done, done_files), (skipped, skipped_files) = results
    return [
        Outcome(done, "done", done_files, 1.5, "1"),
        Outcome(skipped, "skipped", skipped_files),
        Outcome(Job("c", tmp_path / "c.png", {}), "failed", worker="2", why="It is no picture."),
    ]


def test_the_report_says_what_became_of_each_drawing(outcomes, tmp_path):
    write_report(tmp_path / "out", Path("w.json"), outcomes, 9.0)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["done"], report["skipped"], report["failed"], report["workers"]) == (1, 1, 1, {"1": 1})
    assert [(line["state"], line["files"], line["seconds"], line["why"]) for line in report["drawings"]] == [
        ("done", ["a.png"], 1.5, ""),
        ("skipped", ["b.png"], 0, ""),
        ("failed", [], 0, "It is no picture."),
    ]


def test_the_contact_sheet_shows_results_side_by_side_and_failures_crossed_out(outcomes):
    sheet = contact_sheet(outcomes)
    assert sheet.size == (3 * 192, 206)
    assert sheet.getpixel((96, 96)) == (255, 0, 0) and sheet.getpixel((288, 96)) == (0, 255, 0)
    assert sheet.getpixel((480, 96)) == (255, 0, 0) and sheet.getpixel((480, 30)) == (255, 255, 255)


def test_a_long_batch_has_several_contact_sheets(outcomes, tmp_path):
    paths = write_contact_sheets(tmp_path / "out", outcomes * 33)
    assert [path.name for path in paths] == ["contact-sheet-1.jpg", "contact-sheet-2.jpg"]
    assert Image.open(paths[0]).size == (8 * 192, 12 * 206)

"""Workers: results are moved whole and by name; reports and contact sheets; where ComfyUI is."""

import json
import re
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


@pytest.fixture
def colors(stand_in, tmp_path, monkeypatch):
    """`colors("saves", drawing)`: the result of a worker's job whose prompt is one such node of the stand-in."""
    monkeypatch.setattr(
        worker, "launch_command", lambda python, comfyui, *flags: [str(python), str(comfyui / "main.py"), *flags]
    )
    at_work = worker.Worker(worker.Settings(tmp_path / "out", stand_in), 1)

    def run(kind: str, drawing: Path) -> worker.Result:
        return at_work.run(Job("a/1", drawing, {"1": {"class_type": kind, "inputs": {}}}, {("1", "image"): drawing}))

    yield run
    at_work.stop()


@pytest.fixture
def drawing(tmp_path) -> Path:
    (tmp_path / "1.png").write_text("drawing")
    return tmp_path / "1.png"


def test_a_worker_gives_comfyui_the_drawing_and_moves_what_it_saves(colors, drawing, tmp_path):
    result = colors("saves", drawing)
    assert result.files == (tmp_path / "out/a/1.png",) and result.seconds > 0 and not result.error
    assert re.fullmatch(r"[0-9a-f]{12}\.png \[temp\]", json.loads(result.files[0].read_text())["image"])


def test_the_same_file_has_the_same_name_so_that_comfyui_need_not_read_it_again(colors, drawing):
    first, second = (colors("saves", drawing).files[0].read_text() for _ in range(2))
    assert first == second


def test_what_goes_wrong_is_in_the_result_and_the_worker_goes_on(colors, drawing, tmp_path):
    assert colors("fails", drawing).error == "Fails: no picture"
    assert "absent.png" in colors("saves", tmp_path / "absent.png").error
    assert "saved nothing" in colors("done", drawing).error
    assert not colors("saves", drawing).error


def test_a_comfyui_that_ended_is_started_again(colors, drawing):
    assert "ComfyUI" in colors("ends", drawing).error
    assert not colors("saves", drawing).error

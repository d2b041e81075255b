"""A folder of drawings: by a real local Ray cluster, of which a worker is killed, and by one worker without Ray."""

import json
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
from PIL import Image, ImageDraw

from environment import COMFYUI

ROOT = Path(__file__).parents[2]
CLIP_WORKFLOW = ROOT / "demo" / "clip.json"
TEMPLATE = ROOT / "workflows" / "Colorize-lineart-anime-manga.json"
TINY_VALUES = ("1.ckpt_name=tiny-eps.safetensors", "2.clip_name=tiny-clip.safetensors", "5.width=64", "5.height=64")
BROKEN, WITHOUT_REFERENCE = "alice/5", "carol/1"
WAIT_SECONDS = 900  # a busy machine is no failure
NO_RAY = "import sys, runpy; sys.modules['ray'] = None; runpy.run_module('colorize_batch', run_name='__main__')"


@pytest.fixture(scope="module")
def drawings(tmp_path_factory) -> Path:
    """24 drawings of three characters, of which one is no picture, and references for two of them."""
    folder = tmp_path_factory.mktemp("batch")
    for name, count, color in (("alice", 12, "navy"), ("bob", 11, "darkred"), ("carol", 1, None)):
        (folder / "drawings" / name).mkdir(parents=True)
        (folder / "references").mkdir(exist_ok=True)
        if color:
            reference = Image.new("RGB", (64, 64), color)
            ImageDraw.Draw(reference).ellipse((10, 20, 50, 60), fill="orange")
            reference.save(folder / "references" / f"{name}.png")
        for number in range(1, count + 1):
            drawing = Image.new("RGB", (64, 64), "white")
            ImageDraw.Draw(drawing).ellipse((5, 5, 10 + 4 * number, 40 + number), outline="black")
            drawing.save(folder / "drawings" / name / f"{number}.png")
    (folder / "drawings" / f"{BROKEN}.png").write_text("no picture")
    return folder


def command(
    folder: Path,
    out: Path,
    base: Path,
    *options: str,
    python: tuple[str, ...] = ("-m", "colorize_batch"),
    workflow: Path = TEMPLATE,
    drawings: str = "drawings",
) -> list[str]:
    values = [part for value in (*TINY_VALUES, "Colorize.steps=2") for part in ("--set", value)]
    return [
        *(sys.executable, *python, str(workflow)),
        *("--drawings", str(folder / drawings), "--out", str(out), "--reference", str(folder / "references")),
        *(*values, "--comfyui", str(COMFYUI), *options, "--", "--base-directory", str(base)),
    ]


def results(out: Path) -> dict[str, np.ndarray]:
    return {
        path.relative_to(out).with_suffix("").as_posix(): np.asarray(Image.open(path)) for path in out.glob("*/*.png")
    }


def of_state(out: Path, state: str) -> dict[str, str]:
    """Why, by name, of the drawings of that state in the report."""
    lines = json.loads((out / "report.json").read_text())["drawings"]
    return {
        "/".join(Path(line["drawing"]).with_suffix("").parts[-2:]): line["why"]
        for line in lines
        if line["state"] == state
    }


def assert_all_is_done_but_two(out: Path) -> None:
    failed = of_state(out, "failed")
    assert set(failed) == {BROKEN, WITHOUT_REFERENCE}
    assert "cannot identify image file" in failed[BROKEN] and f"{BROKEN}.png" in failed[BROKEN]
    assert "It has no reference" in failed[WITHOUT_REFERENCE]
    assert len(results(out)) == 22 and (out / "contact-sheet-1.jpg").is_file()
    assert not (out / ".colorize_batch").exists()


@pytest.fixture(scope="module")
def one_by_one(drawings, base) -> Path:
    """The results of a single worker, in a Python that has no Ray."""
    out = drawings / "one-by-one"
    done = subprocess.run(
        command(drawings, out, base, "--workers", "1", python=("-c", NO_RAY)), cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1, done.stderr  # two drawings failed
    assert "22 done, 0 skipped, 2 failed" in done.stdout
    return out


def test_one_worker_colors_a_folder_without_ray(one_by_one):
    assert_all_is_done_but_two(one_by_one)


def test_the_same_command_again_does_only_what_is_missing(one_by_one, drawings, base):
    before = results(one_by_one)
    (one_by_one / "bob" / "7.png").unlink()
    assert subprocess.run(command(drawings, one_by_one, base, "--workers", "1"), cwd=ROOT).returncode == 1
    assert list(of_state(one_by_one, "done")) == ["bob/7"]
    assert len(of_state(one_by_one, "skipped")) == 21
    np.testing.assert_array_equal(results(one_by_one)["bob/7"], before["bob/7"])


def test_more_workers_without_ray_are_refused_in_a_sentence(drawings, base, tmp_path):
    refused = command(drawings, tmp_path / "out", base, "--workers", "2", python=("-c", NO_RAY))
    done = subprocess.run(refused, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.strip().startswith("More than one worker needs Ray: pip install -r requirements-batch.txt")


def test_a_clip_becomes_a_clip_by_the_hosts_own_video_nodes(drawings, base, tmp_path):
    (drawings / "clips").mkdir()
    with av.open(str(drawings / "clips" / "bob.mp4"), "w") as clip:
        stream = clip.add_stream("h264", rate=12)
        stream.width = stream.height = 64
        for number in (1, 2, 3):
            frame = av.VideoFrame.from_image(Image.open(drawings / "drawings" / "bob" / f"{number}.png"))
            clip.mux(stream.encode(frame))
        clip.mux(stream.encode())
    clips = command(drawings, tmp_path, base, "--workers", "1", workflow=CLIP_WORKFLOW, drawings="clips")
    assert subprocess.run(clips, cwd=ROOT).returncode == 0
    with av.open(str(tmp_path / "bob.mp4")) as clip:
        assert clip.streams.video[0].average_rate == 12
        assert [(frame.width, frame.height) for frame in clip.decode(video=0)] == [(64, 64)] * 3


def test_two_ray_workers_of_which_one_is_killed_give_what_one_gives(one_by_one, drawings, base):
    pytest.importorskip("ray")
    out = drawings / "two-workers"
    driver = subprocess.Popen(command(drawings, out, base, "--workers", "2"), cwd=ROOT)
    try:
        deadline = time.monotonic() + WAIT_SECONDS
        workers: list[psutil.Process] = []
        while len(list(out.glob("*/*.png"))) < 4 or len(workers) < 2:
            assert time.monotonic() < deadline and driver.poll() is None
            time.sleep(0.02)
            workers = [child for child in psutil.Process(driver.pid).children(recursive=True) if is_worker(child)]
        workers[0].kill()
        assert driver.wait(WAIT_SECONDS) == 1
    finally:
        driver.kill()
    assert_all_is_done_but_two(out)
    expected = results(one_by_one)
    for name, picture in results(out).items():
        np.testing.assert_array_equal(picture, expected[name], err_msg=name)


def is_worker(process: psutil.Process) -> bool:
    try:
        return "ray::Worker" in " ".join(process.cmdline())
    except psutil.Error:
        return False

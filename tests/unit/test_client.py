"""The ComfyUI client, against a process that answers as ComfyUI does."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from colorize_batch.client import ComfyUIError, Server, ServerStopped

ROOT = Path(__file__).parents[2]


@pytest.fixture
def server(stand_in, tmp_path):
    with Server([sys.executable, str(stand_in / "main.py")], tmp_path) as running:
        yield running


def prompt(kind: str) -> dict:
    return {"1": {"class_type": kind, "inputs": {}}}


def test_a_prompt_gives_what_its_output_nodes_show(server):
    assert server.run(prompt("done")) == {"1": {"images": []}}


def test_a_refused_prompt_is_one_sentence_with_every_fault(server):
    with pytest.raises(ComfyUIError, match=r"^ComfyUI refuses .*: Refused: Value not in list \(image: 'a\.png' not in"):
        server.run(prompt("Refused"))


def test_a_failing_node_is_named_with_its_own_words(server):
    with pytest.raises(ComfyUIError, match=r"^Fails: no picture$"):
        server.run(prompt("fails"))


def test_a_comfyui_that_ends_while_it_works_is_not_waited_for(server):
    with pytest.raises(ServerStopped, match=r"(?s)ComfyUI .*log.*started"):
        server.run(prompt("ends"))


def test_a_comfyui_that_does_not_start_shows_the_end_of_its_log(tmp_path):
    script = tmp_path / "main.py"
    script.write_text("print('no such device'); raise SystemExit(1)")
    with (
        pytest.raises(ServerStopped, match=r"(?s)did not start.*no such device"),
        Server([sys.executable, str(script)], tmp_path),
    ):
        pass


def test_the_process_ends_with_the_block(stand_in, tmp_path):
    with Server([sys.executable, str(stand_in / "main.py")], tmp_path) as running:
        pass
    assert running.process.poll() is not None and running.log.read_text() == "started\n"


def test_it_ends_with_the_process_that_started_it_even_when_that_is_killed(stand_in, tmp_path):
    starts_one = f"""
import sys, time, pathlib
from colorize_batch.client import Server
with Server([sys.executable, {str(stand_in / "main.py")!r}], pathlib.Path({str(tmp_path)!r})) as server:
    print(server.process.pid, flush=True)
    time.sleep(600)
"""
    starter = subprocess.Popen([sys.executable, "-c", starts_one], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    comfyui = psutil.Process(int(starter.stdout.readline()))
    starter.kill()
    starter.wait()
    comfyui.wait(timeout=30)

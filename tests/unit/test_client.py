"""The ComfyUI client, against a process that answers as ComfyUI does."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from colorize_batch.client import ComfyUIError, Server, ServerStopped

ROOT = Path(__file__).parents[2]

# Answers "/prompt" by the prompt's only node: as done, refused, failed, or not at all, because it ends.
STAND_IN = """
import http.server, json, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, value, code=200):
        self.send_response(code); self.end_headers(); self.wfile.write(json.dumps(value).encode())
    def do_GET(self):
        kind = self.path.removeprefix("/history/")
        messages = {"fails": [["execution_error", {"node_type": "Fails", "exception_message": "no picture\\n"}]]}
        if kind == "ends":
            os._exit(1)
        history = {"status": {"messages": messages.get(kind, [])}, "outputs": {"1": {"images": []}}}
        self.answer({kind: history} if self.path.startswith("/history") else {})
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/history":
            return self.answer({})
        (node,) = body["prompt"].values()
        fault = {"message": "Value not in list", "details": "image: 'a.png' not in []"}
        refused = {"error": {"message": "invalid"}, "node_errors": {"1": {"errors": [fault]}}}
        self.answer(*((refused, 400) if node["class_type"] == "Refused" else ({"prompt_id": node["class_type"]},)))
    def log_message(self, *arguments):
        pass
print("started", flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("client") / "main.py"
    path.write_text(STAND_IN)
    return path


@pytest.fixture
def server(script, tmp_path):
    with Server([sys.executable, str(script)], tmp_path) as running:
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


def test_the_process_ends_with_the_block(script, tmp_path):
    with Server([sys.executable, str(script)], tmp_path) as running:
        pass
    assert running.process.poll() is not None and running.log.read_text() == "started\n"


def test_it_ends_with_the_process_that_started_it_even_when_that_is_killed(script, tmp_path):
    starts_one = f"""
import sys, time, pathlib
from colorize_batch.client import Server
with Server([sys.executable, {str(script)!r}], pathlib.Path({str(tmp_path)!r})) as server:
    print(server.process.pid, flush=True)
    time.sleep(600)
"""
    starter = subprocess.Popen([sys.executable, "-c", starts_one], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    comfyui = psutil.Process(int(starter.stdout.readline()))
    starter.kill()
    starter.wait()
    comfyui.wait(timeout=30)

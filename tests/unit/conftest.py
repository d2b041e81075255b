"""What several unit tests use."""

from pathlib import Path

import pytest

# Answers "/prompt" by the type of the prompt's only node: it is done, saves, is refused, fails, or ends the process.
STAND_IN = """
import http.server, json, os, pathlib, sys
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
        if node["class_type"] == "saves":
            folder = pathlib.Path(sys.argv[sys.argv.index("--output-directory") + 1])
            said = node["inputs"] | {"gpu": os.environ.get("CUDA_VISIBLE_DEVICES")}
            (folder / "made.png").write_text(json.dumps(said))
        fault = {"message": "Value not in list", "details": "image: 'a.png' not in []"}
        refused = {"error": {"message": "invalid"}, "node_errors": {"1": {"errors": [fault]}}}
        self.answer(*((refused, 400) if node["class_type"] == "Refused" else ({"prompt_id": node["class_type"]},)))
    def log_message(self, *arguments):
        pass
print("started", flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory) -> Path:
    """A folder whose main.py answers as ComfyUI does, by the type of a prompt's only node."""
    folder = tmp_path_factory.mktemp("stand-in")
    (folder / "main.py").write_text(STAND_IN)
    return folder

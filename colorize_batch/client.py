"""A ComfyUI in a process of its own: started, given prompts over HTTP, waited for. Only the standard library."""

from __future__ import annotations  # dev.py imports this, and says itself that a Python is too old

import contextlib
import http.client
import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

START_SECONDS = 600
PROMPT_SECONDS = 1800
REQUEST_SECONDS = 60
END_SECONDS = 10
LOG_LINES = 15
TETHER = Path(__file__).with_name("tether.py")


class ComfyUIError(Exception):
    """What ComfyUI did not do; the text says what, and why as far as ComfyUI says it."""


class ServerStopped(ComfyUIError):
    """The process ended, or does not answer any more."""


def launch_command(python: Path, comfyui: Path, *flags: str) -> list[str]:
    """The command that starts the ComfyUI of that folder; on the CPU, where torch of that Python sees nothing else."""
    asks_torch = "import sys, torch; sys.exit(0 if torch.accelerator.is_available() else 1)"
    device = [] if subprocess.run([str(python), "-c", asks_torch]).returncode == 0 else ["--cpu"]
    return [str(python), str(comfyui / "main.py"), *device, *flags]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A ComfyUI without a browser, for as long as the `with` block, and this process, lasts.

    `command` starts it: a Python, its script and flags (see `launch_command`). Its log comes into `folder`.
    """

    def __init__(self, command: list[str], folder: Path):
        port = free_port()
        python, *program = command
        self.command = [python, str(TETHER), *program, "--disable-auto-launch", "--port", str(port)]
        self.log = folder / "comfyui.log"
        self.seconds = 0.0  # most of what the last prompt took
        self.address = f"127.0.0.1:{port}"
        self.url = f"http://{self.address}"

    def __enter__(self) -> Server:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT)
        try:
            self._wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.process.stdin.close()
        self.process.terminate()
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError):
                self.request("/system_stats")
                return
            time.sleep(0.2)
        raise ServerStopped(f"ComfyUI did not start. The end of its log, {self.log}:\n{self.log_tail()}")

    def log_tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_LINES:])

    def request(self, path: str, body: dict | None = None) -> dict:
        """GET, or POST of `body` as JSON; gives the JSON that comes back. Raises urllib's HTTPError and URLError."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=REQUEST_SECONDS) as response:
            text = response.read()
        return json.loads(text) if text else {}

    def queue(self, prompt: dict, client_id: str = "") -> str:
        """Queues an API-format prompt; gives its id. Raises urllib's HTTPError where ComfyUI refuses it."""
        return self.request("/prompt", {"prompt": prompt, "client_id": client_id or str(uuid.uuid4())})["prompt_id"]

    def wait(self, prompt_id: str) -> dict:
        """Waits for a queued prompt; gives its history: `outputs` and `status`."""
        start = time.monotonic()
        pause = self.seconds  # a look costs ComfyUI a few milliseconds of its work: the first when it may be done
        while time.monotonic() < start + PROMPT_SECONDS and self.process.poll() is None:
            time.sleep(min(0.5, pause))
            waited = time.monotonic() - start
            if history := self.request(f"/history/{prompt_id}"):
                self.seconds = 0.9 * waited
                return history[prompt_id]
            pause = 0.005 + 0.03 * waited  # seldom for what takes long: a few percent of the whole
        raise ServerStopped(f"ComfyUI stopped or takes too long. The end of its log, {self.log}:\n{self.log_tail()}")

    def run(self, prompt: dict) -> dict[str, dict]:
        """Queues a prompt and waits for it; gives what each output node shows, by the node's id.

        ComfyUI forgets the prompt after it: it would keep the last 10,000. Raises ComfyUIError where ComfyUI refuses
        the prompt or a node fails, ServerStopped where ComfyUI ends.
        """
        try:
            prompt_id = self.queue(prompt)
            history = self.wait(prompt_id)
            self.request("/history", {"delete": [prompt_id]})
        except urllib.error.HTTPError as refusal:
            raise ComfyUIError(refusal_text(json.loads(refusal.read()), prompt)) from None
        except (OSError, http.client.HTTPException) as broken:
            raise ServerStopped(f"ComfyUI does not answer ({broken}). The end of its log:\n{self.log_tail()}") from None
        for event, data in history["status"]["messages"]:
            if event == "execution_error":
                raise ComfyUIError(f"{data['node_type']}: {data['exception_message'].strip()}")
        return history["outputs"]


def refusal_text(answer: dict, prompt: dict) -> str:
    """One line of what ComfyUI answers to a prompt that it does not queue."""
    faults = [
        f"{prompt[key]['class_type']}: {error['message']} ({error['details']})"
        for key, node in answer.get("node_errors", {}).items()
        for error in node["errors"]
    ]
    return "ComfyUI refuses the workflow: " + ("; ".join(faults) or answer["error"]["message"])

"""Every template in the real web UI, in a headless Chromium."""

import asyncio
import os
import shutil
import subprocess
import time
from pathlib import Path

import aiohttp
import pytest

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
START_SECONDS = 120

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (install one to run this test)")


class Page:
    """A page of a headless Chromium, driven over its DevTools protocol."""

    def __init__(self, profile: Path):
        self.loop = asyncio.new_event_loop()
        self.calls = 0
        port_file = profile / "DevToolsActivePort"
        flags = ["--headless=new", "--disable-gpu", "--no-first-run", "--window-size=1800,1000"]
        if os.name == "posix" and os.geteuid() == 0:
            flags.append("--no-sandbox")  # Chromium refuses to run as root with it
        self.process = subprocess.Popen(
            [CHROMIUM, *flags, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_SECONDS
        while not (port_file.exists() and port_file.read_text().strip()):
            assert time.monotonic() < deadline and self.process.poll() is None, "Chromium did not start"
            time.sleep(0.1)
        self.loop.run_until_complete(self._connect(int(port_file.read_text().split()[0])))

    async def _connect(self, port: int) -> None:
        self.session = aiohttp.ClientSession()
        async with self.session.get(f"http://127.0.0.1:{port}/json/list") as response:
            pages = await response.json()
        url = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
        self.socket = await self.session.ws_connect(url, max_msg_size=0)

    def close(self) -> None:
        self.loop.run_until_complete(self.session.close())
        self.loop.close()
        self.process.terminate()
        self.process.wait()

    def call(self, method: str, **parameters) -> dict:
        """One DevTools command; gives its result."""

        async def talk():
            self.calls += 1
            await self.socket.send_json({"id": self.calls, "method": method, "params": parameters})
            while True:
                message = await self.socket.receive_json(timeout=START_SECONDS)
                if message.get("id") == self.calls:
                    return message["result"]

        return self.loop.run_until_complete(talk())

    def evaluate(self, script: str):
        """The value of a JavaScript expression; promises are awaited."""
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait_for(self, script: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self.evaluate(script):
            assert time.monotonic() < deadline, f"never true: {script}"
            time.sleep(0.2)


@pytest.fixture(scope="module")
def page(server, tmp_path_factory):
    page = Page(tmp_path_factory.mktemp("chromium"))
    page.call("Page.navigate", url=server.url)
    page.wait_for("Boolean(window.app?.graph && window.LiteGraph?.registered_node_types.ColorizeDiffusion_Sampler)")
    yield page
    page.close()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_what_the_browser_queues_for_a_template_runs(page, server, shrink, tiny_prompt, path):
    page.evaluate(f"app.loadGraphData({path.read_text()})")
    queued = page.evaluate("app.graphToPrompt().then((result) => result.output)")
    prompt = shrink({key: {name: node[name] for name in ("class_type", "inputs")} for key, node in queued.items()})
    assert prompt == tiny_prompt(path)
    history = server.wait(server.queue(prompt))
    assert history["status"]["completed"], history["status"]["messages"][-1]

"""Every template in the real web UI, in a headless Chromium."""

import json
import os
import shutil
from pathlib import Path

import pytest

WORKFLOWS = sorted((Path(__file__).parents[2] / "workflows").glob("*.json"))
CHROMIUMS = (
    *("chromium", "chromium-browser", "google-chrome"),
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
)
FLAGS = [
    "--no-sandbox",  # Chromium refuses to run as root with it, and only ever sees the server of these tests
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PROMPT_KEYS = ("class_type", "inputs", "_meta")
READY_MILLISECONDS = 120_000
READY = "() => window.app?.graph && window.LiteGraph?.registered_node_types.ColorizeDiffusion_Sampler"


@pytest.fixture(scope="module")
def chromium() -> str:
    """The Chromium of this machine; without one the tests are skipped, but for CI, which must have one."""
    if path := next(filter(None, map(shutil.which, CHROMIUMS)), None):
        return path
    reason = "no Chromium on this machine (install one to run this test)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def page(chromium, server):
    # While its synchronous side is open there is an event loop in this thread: no other test may be run within.
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1800, "height": 1000})
        page.goto(server.url)
        page.wait_for_function(READY, timeout=READY_MILLISECONDS)
        yield page
        browser.close()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_what_the_browser_queues_for_a_template_runs(page, server, shrink, tiny_prompt, path):
    page.evaluate("(graph) => app.loadGraphData(graph)", json.loads(path.read_text()))
    queued = page.evaluate("() => app.graphToPrompt().then((result) => result.output)")
    prompt = shrink({key: {name: node[name] for name in PROMPT_KEYS} for key, node in queued.items()})
    assert prompt == tiny_prompt(path)
    server.run(prompt)

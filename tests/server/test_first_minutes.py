"""What a new user meets in the browser: the demo's link in each language, a click, an install, the app.

Screenshots of it, to be looked at, are in out/screenshots.
"""

import json
import urllib.request
from pathlib import Path

import pytest

from dev import OUT, template_link

LOCALES = Path(__file__).parents[2] / "locales"
SCREENSHOTS = OUT / "screenshots"
SMALL, LARGE = {"width": 1366, "height": 768}, {"width": 1920, "height": 1080}
SMALLEST_ZOOM = 0.6  # below it ComfyUI draws no text
MILLISECONDS = 120_000  # that anything may take: a busy machine is no failure
COLORIZE, PREPARE = "ColorizeDiffusion_Sampler", "ColorizeDiffusion_PrepareSketch"
STORE = "document.querySelector('#vue-app').__vue_app__.config.globalProperties.$pinia._s.get"
IS_OPEN = "() => window.app?.graph?.nodes.length > 8 && !document.querySelector('#splash-loader')"
IS_SHOWN = "() => app.graph.nodes.some((node) => node.type === 'SaveImage' && node.imgs?.length)"
IS_SAVED = "() => app.graph.nodes.some((node) => node.type === 'SaveImage' && app.nodeOutputs[node.id]?.images)"


@pytest.fixture(scope="module")
def page(browser):
    """A page that has seen nothing yet."""
    return browser.new_page()


def speak(server, language: str) -> None:
    """Sets the language of ComfyUI's interface."""
    headers = {"Content-Type": "application/json"}
    address = f"{server.url}/settings/Comfy.Locale"
    urllib.request.urlopen(urllib.request.Request(address, json.dumps(language).encode(), headers))


def open_template(page, link: str) -> None:
    """Opens a link as who never was there: ComfyUI opens again what was open before."""
    if page.url.startswith("http"):
        page.evaluate("() => [localStorage, sessionStorage].forEach((storage) => storage.clear())")
    page.goto(link)
    page.wait_for_function(IS_OPEN, timeout=MILLISECONDS)


def names_in(language: str) -> dict[str, str]:
    """What nodes are called, by type; in English, as their schemas say."""
    path = LOCALES / language / "nodeDefs.json"
    translated = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {COLORIZE: "Colorize", PREPARE: "Prepare Sketch"} | {
        name: node["display_name"] for name, node in translated.items()
    }


@pytest.mark.parametrize("language", ["zh", "ja", "en"])
def test_the_demos_link_opens_without_an_error_and_readable(page, server, language):
    speak(server, language)
    page.set_viewport_size(SMALL)
    open_template(page, template_link(server.url))
    assert page.evaluate("() => app.canvas.ds.scale") >= SMALLEST_ZOOM
    assert page.evaluate(f"() => {STORE}('executionError').hasAnyError") is False
    for size in (LARGE, SMALL):
        page.set_viewport_size(size)
        page.screenshot(path=SCREENSHOTS / f"demo-{language}-{size['height']}.png")
    titles = page.evaluate("() => app.graph.nodes.map((node) => node.title)")
    assert {names_in(language)[COLORIZE], names_in(language)[PREPARE]} <= set(titles)


def test_one_click_makes_the_demos_picture(page, server):
    open_template(page, template_link(server.url))
    page.get_by_test_id("queue-button").click()
    page.wait_for_function(IS_SHOWN, timeout=MILLISECONDS)
    assert page.evaluate(f"() => {STORE}('executionError').hasAnyError") is False
    page.screenshot(path=SCREENSHOTS / "demo-result.png")


def test_an_installed_packs_first_template_misses_nothing_but_the_models(page, server):
    open_template(page, template_link(server.url, source="colorize-diffusion"))
    page.wait_for_function(f"() => {STORE}('executionError').hasAnyError", timeout=MILLISECONDS)
    page.screenshot(path=SCREENSHOTS / "first-template.png")
    missing = page.evaluate(f"() => {STORE}('missingModel').missingModelCandidates.map((model) => model.name)")
    assert sorted(missing) == ["mult-eps-ft.safetensors", "open_clip_model.safetensors"]
    assert not page.evaluate(f"() => {STORE}('missingMedia').hasMissingMedia")


def test_the_app_asks_for_drawing_reference_and_strength_and_makes_the_picture(page, server):
    open_template(page, template_link(server.url, "Colorize-lineart.app") + "&mode=linear")
    form = page.get_by_test_id("linear-widgets")
    form.wait_for(timeout=MILLISECONDS)
    for label in ("Drawing", "Reference", "Strength"):
        form.get_by_text(label, exact=True).wait_for(timeout=MILLISECONDS)
    page.get_by_test_id("linear-run-button").get_by_role("button", name="Run").click()
    page.wait_for_function(IS_SAVED, timeout=MILLISECONDS)
    page.screenshot(path=SCREENSHOTS / "app.png")

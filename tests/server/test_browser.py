"""Every template, the blueprint and the node search in the real web UI, in a headless Chromium."""

import contextlib
import json
from pathlib import Path

import pytest
from playwright.sync_api import TimeoutError

from dev import OUT
from gallery.blueprint import NAME as BLUEPRINT

WORKFLOWS = sorted((Path(__file__).parents[2] / "workflows").glob("*.json"))
SCREENSHOTS = OUT / "screenshots"
PROMPT_KEYS = ("class_type", "inputs", "_meta")
MILLISECONDS = 120_000  # that anything may take: a busy machine is no failure
COLORIZE, PREPARE = "ColorizeDiffusion_Sampler", "ColorizeDiffusion_PrepareSketch"
FOUND_BY = {
    COLORIZE: ("anime", "palette", "style transfer", "black and white", "lineart", "上色", "着色", "塗り"),
    PREPARE: ("manga", "line art", "線画", "线稿", "線稿"),
}
STORE = "document.querySelector('#vue-app').__vue_app__.config.globalProperties.$pinia._s.get"
RUN_BLUEPRINT = """() => {
    const [colorize] = app.graph.nodes;
    const add = (type) => {
        const node = LiteGraph.createNode(type);
        app.graph.add(node);
        return node;
    };
    const picture = (file, name) => {
        const node = add('LoadImage');
        node.widgets[0].value = file;
        node.connect(0, colorize, colorize.inputs.findIndex((input) => input.name === name));
    };
    picture('small-drawing.png', 'drawing');
    picture('small-reference.png', 'reference');
    colorize.connect(0, add('SaveImage'), 0);
    return app.graphToPrompt().then((result) => result.output);
}"""


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_what_the_browser_queues_for_a_template_runs(page, server, shrink, tiny_prompt, path):
    page.evaluate("(graph) => app.loadGraphData(graph)", json.loads(path.read_text()))
    queued = page.evaluate("() => app.graphToPrompt().then((result) => result.output)")
    prompt = shrink({key: {name: node[name] for name in PROMPT_KEYS} for key, node in queued.items()})
    assert prompt == tiny_prompt(path)
    server.run(prompt)


def test_the_node_search_knows_the_words_that_people_type(page):
    search = f"(word) => {STORE}('nodeDef').nodeSearchService.searchNode(word, []).map((node) => node.name)"
    for node, words in FOUND_BY.items():
        for word in words:
            assert node in page.evaluate(search, word)[:10], word


def node_search(page):
    """The field of the node search, opened by a double click on the empty graph."""
    field = page.get_by_placeholder("Add a node...")
    for _ in range(10):  # two clicks that a busy machine sees too far apart are no double click
        page.mouse.dblclick(700, 400)
        with contextlib.suppress(TimeoutError):
            field.wait_for(timeout=6_000)
            return field
    raise AssertionError("A double click did not open the node search.")


def test_the_blueprint_is_found_by_the_node_search_and_runs(page, server, shrink):
    page.evaluate("() => app.graph.clear()")
    node_search(page).fill("colorize line art")
    page.get_by_text(BLUEPRINT).first.wait_for(timeout=MILLISECONDS)
    page.screenshot(path=SCREENSHOTS / "node-search.png")
    page.keyboard.press("Enter")
    page.wait_for_function("() => app.graph.nodes.length === 1", timeout=MILLISECONDS)
    page.mouse.click(700, 400)
    page.screenshot(path=SCREENSHOTS / "blueprint.png")
    queued = page.evaluate(RUN_BLUEPRINT)
    prompt = shrink({key: {"_meta": {"title": ""}} | node for key, node in queued.items()})
    (images,) = [output["images"] for output in server.run(prompt).values() if output.get("images")]
    assert len(images) == 1

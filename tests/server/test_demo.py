"""The prompt that `dev.py demo` queues."""

import json
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "demo"


@pytest.fixture
def prompt():
    return json.loads((DEMO / "prompt.json").read_text())


def test_the_demo_is_the_template_with_its_own_files_and_size(prompt, tiny_prompt, shrink, workflows):
    template = tiny_prompt(workflows["Colorize a sketch from a reference"])
    demo = shrink(prompt)
    for key, node in template.items():
        assert demo[key]["class_type"] == node["class_type"]
        if node["class_type"] != "SaveImage":
            assert demo[key]["inputs"] == node["inputs"]


def test_the_demo_puts_sketch_reference_and_result_side_by_side(server, prompt, shrink):
    prompt = shrink(prompt)
    history = server.wait(server.queue(prompt))
    assert history["status"]["completed"], history["status"]["messages"][-1]
    ((picture,),) = [output["images"] for output in history["outputs"].values()]
    png = (server.log.parent / "output" / picture["filename"]).read_bytes()
    width, height = (int.from_bytes(png[i : i + 4], "big") for i in (16, 20))
    assert width > 2.5 * height

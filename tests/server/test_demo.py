"""The prompts of the demo: the one that `dev.py demo` queues, and the one for the frames of a shot."""

import json
from pathlib import Path

import pytest

from colorize_batch.workflow import drawing_slot, previous_slot, reference_slot

DEMO = Path(__file__).parents[2] / "demo"


@pytest.fixture
def prompt():
    return json.loads((DEMO / "prompt.json").read_text())


def test_the_demo_is_the_template_with_its_own_files_and_size(prompt, tiny_prompt, shrink, workflows):
    template, demo = tiny_prompt(workflows["Colorize-lineart-anime-manga"]), shrink(prompt)
    numbers = dict(zip(sorted(template, key=int), sorted(demo, key=int), strict=False))  # notes leave gaps
    for key, node in template.items():
        own = demo[numbers[key]]
        assert own["class_type"] == node["class_type"]
        if node["class_type"] not in ("LoadImage", "SaveImage"):
            assert own["inputs"] == {
                name: [numbers[value[0]], value[1]] if isinstance(value, list) else value
                for name, value in node["inputs"].items()
            }


def test_the_demo_puts_sketch_reference_result_and_edit_side_by_side(server, prompt, shrink):
    prompt = shrink(prompt)
    history = server.wait(server.queue(prompt))
    assert history["status"]["completed"], history["status"]["messages"][-1]
    images = [image for output in history["outputs"].values() for image in output["images"]]
    (picture,) = [image for image in images if image["type"] == "output"]
    png = (server.log.parent / "output" / picture["filename"]).read_bytes()
    width, height = (int.from_bytes(png[i : i + 4], "big") for i in (16, 20))
    assert width > 3.5 * height


def test_a_frame_of_a_shot_begins_with_the_previous_one_and_is_else_colored_as_the_demo(server, prompt, shrink):
    shot = json.loads((DEMO / "shot.json").read_text())
    assert [drawing_slot(shot), reference_slot(shot), previous_slot(shot)] == [
        (key, "image") for key in ("3", "4", "30")
    ]
    for key in ("1", "2", "3", "4", "5", "6", "7", "9", "10"):
        assert shot[key]["inputs"] == prompt[key]["inputs"]
    assert shot["8"]["inputs"] == prompt["8"]["inputs"] | {"latent": ["32", 0], "denoise": 0.8}
    server.run(shrink(shot))

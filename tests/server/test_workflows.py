"""Every template: whole, up to date with the nodes, and it runs."""

import json
from pathlib import Path

import pytest

from gallery.templates import TEMPLATES
from gallery.writing import saved_template

WORKFLOWS = sorted((Path(__file__).parents[2] / "workflows").glob("*.json"))

pytestmark = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def test_links_agree_at_both_ends(path):
    workflow = json.loads(path.read_text())
    nodes = {node["id"]: node for node in workflow["nodes"]}
    for link_id, origin, slot, target, target_slot, kind in workflow["links"]:
        output, socket = nodes[origin]["outputs"][slot], nodes[target]["inputs"][target_slot]
        assert link_id in output["links"] and socket["link"] == link_id
        assert output["type"] == socket["type"] == kind


def test_every_node_is_known_and_as_its_schema_says(path, object_info):
    for node in json.loads(path.read_text())["nodes"]:
        if node["type"] not in ("Note", "MarkdownNote"):
            info = object_info[node["type"]]
            names = {name for group in info["input"] for name in info["input"][group]} | {"upload"}  # a button
            assert {socket["name"].split(".")[0] for socket in node["inputs"]} <= names, node["type"]
            assert [socket["name"] for socket in node["outputs"]] == info["output_name"], node["type"]


def test_a_loaders_file_can_be_fetched_by_the_web_ui(path):
    for node in json.loads(path.read_text())["nodes"]:
        if node["type"] in ("ColorizeDiffusion_LoadCheckpoint", "ColorizeDiffusion_LoadCLIP"):
            name = node["widgets_values"][0]
            if not name:  # left to the user
                assert "models" not in node["properties"]
                continue
            (model,) = node["properties"]["models"]
            assert model["name"] == name
            assert model["url"].startswith("https://huggingface.co/")
            assert model["directory"] in ("checkpoints", "clip_vision")


def test_it_is_what_the_gallery_makes_of_it(path, object_info):
    template = next(template for template in TEMPLATES if template.name == path.stem)
    assert json.loads(path.read_text()) == saved_template(template, object_info)


def test_it_fits_a_small_screen_at_a_zoom_that_shows_text(path):
    nodes = [node for node in json.loads(path.read_text())["nodes"] if not node["flags"].get("collapsed")]
    right, bottom = (max(node["pos"][axis] + node["size"][axis] for node in nodes) for axis in (0, 1))
    assert right <= 1680 and bottom <= 900


def test_it_runs(path, server, tiny_prompt):
    history = server.wait(server.queue(tiny_prompt(path)))
    assert history["status"]["completed"], history["status"]["messages"][-1]
    assert any(output.get("images") for output in history["outputs"].values())

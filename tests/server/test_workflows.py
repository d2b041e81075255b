"""Every template: whole, up to date with the nodes, and it runs."""

import json
from pathlib import Path

import pytest

from gallery.templates import TEMPLATES
from gallery.writing import saved_template

MASKED = ("ColorizeDiffusion_PrepareSketch", "ColorizeDiffusion_EncodeReference")
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


def test_its_notes_hold_no_code_words_which_the_web_ui_shows_blue_on_brown(path):
    notes = [node for node in json.loads(path.read_text())["nodes"] if node["type"] == "MarkdownNote"]
    assert notes and not any("`" in text for note in notes for text in note["widgets_values"])


def test_what_is_transparent_in_a_picture_counts_as_paper(path):
    """But in a batch of drawings, each of which may have a mask or none."""
    workflow = json.loads(path.read_text())
    nodes, links = {node["id"]: node for node in workflow["nodes"]}, {link[0]: link for link in workflow["links"]}
    for node in workflow["nodes"]:
        wired = {socket["name"]: links[socket["link"]] for socket in node["inputs"] if socket["link"]}
        if node["type"] in MASKED and nodes[wired["image"][1]]["type"] == "LoadImage":
            assert wired["mask"][1:3] == [wired["image"][1], 1], node["type"]


def test_it_runs(path, server, tiny_prompt):
    history = server.wait(server.queue(tiny_prompt(path)))
    assert history["status"]["completed"], history["status"]["messages"][-1]
    assert any(output.get("images") for output in history["outputs"].values())

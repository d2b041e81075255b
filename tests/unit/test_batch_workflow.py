"""Workflows for a batch: the saved ones that can be turned into a prompt, and the inputs that are found in them."""

import json

import pytest

from colorize_batch.workflow import (
    drawing_slot,
    find_slot,
    is_prompt,
    parse_value,
    previous_slot,
    prompt_of_saved,
    read_workflow,
    reference_slot,
    seed_slots,
    with_values,
)

OBJECT_INFO = {
    "LoadImage": {
        "display_name": "Load Image",
        "input_order": {"required": ["image"]},
        "input": {"required": {"image": [["a.png"], {"image_upload": True}]}},
    },
    "Sampler": {
        "display_name": "Colorize",
        "input_order": {"required": ["picture", "steps", "seed"], "optional": ["mask", "name"]},
        "input": {
            "required": {
                "picture": ["IMAGE"],
                "steps": ["INT", {"forceInput": True}],  # a socket, and no widget
                "seed": ["INT", {"control_after_generate": True}],
            },
            "optional": {"mask": ["MASK"], "name": ["STRING", {"default": "nobody"}]},
        },
    },
}


@pytest.fixture
def saved():
    return {
        "nodes": [
            {"id": 1, "type": "LoadImage", "mode": 0, "inputs": [], "widgets_values": ["a.png", "image"]},
            {
                "id": 2,
                "type": "Sampler",
                "title": "Mine",
                "mode": 0,
                "inputs": [{"name": "picture", "link": 9}, {"name": "mask", "link": None}],
                "widgets_values": [3, "fixed", "x"],
            },
            {"id": 3, "type": "Note", "mode": 0, "widgets_values": ["read me"]},
        ],
        "links": [[9, 1, 0, 2, 0, "IMAGE"]],
    }


def test_a_saved_workflow_becomes_the_prompt_that_the_browser_queues(saved):
    prompt = prompt_of_saved(saved, OBJECT_INFO)
    assert prompt == {
        "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}, "_meta": {"title": "Load Image"}},
        "2": {
            "class_type": "Sampler",
            "inputs": {"picture": ["1", 0], "seed": 3, "name": "x"},
            "_meta": {"title": "Mine"},
        },
    }
    assert is_prompt(prompt) and not is_prompt(saved)


def test_an_input_that_a_node_got_since_has_its_default(saved):
    saved["nodes"][1]["widgets_values"] = [3, "fixed"]
    assert prompt_of_saved(saved, OBJECT_INFO)["2"]["inputs"] == {"picture": ["1", 0], "seed": 3, "name": "nobody"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda saved: saved["nodes"][1].update(mode=4), r"Node 2 \(Mine\) is bypassed\. .*Export \(API\)"),
        (lambda saved: saved["nodes"][1].update(mode=2), r"Node 2 \(Mine\) is muted"),
        (lambda saved: saved.update(definitions={"subgraphs": [{}]}), "has subgraphs"),
        (lambda saved: saved["nodes"][0].update(type="Reroute"), r"Node 1 \(Reroute\) is of a kind that .* not know"),
        (lambda saved: saved["nodes"][1]["widgets_values"].append(1), r"Node 2 \(Mine\) has other widgets"),
    ],
)
def test_what_only_the_browser_can_turn_into_a_prompt_is_refused_with_a_way_out(saved, change, sentence):
    change(saved)
    with pytest.raises(ValueError, match=sentence):
        prompt_of_saved(saved, OBJECT_INFO)


@pytest.mark.parametrize("text", ["no json", "[1, 2]", "{}", '{"a": 1}'])
def test_a_file_that_is_no_workflow_is_refused(tmp_path, text):
    path = tmp_path / "workflow.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="workflow"):
        read_workflow(path)
    with pytest.raises(ValueError, match=r"absent\.json cannot be read"):
        read_workflow(tmp_path / "absent.json")


def test_a_workflow_in_api_format_is_read_as_it_is(tmp_path, saved):
    prompt = prompt_of_saved(saved, OBJECT_INFO)
    (tmp_path / "prompt.json").write_text(json.dumps(prompt))
    assert read_workflow(tmp_path / "prompt.json") == prompt


def loader(title: str = "Load Image") -> dict:
    return {"class_type": "LoadImage", "inputs": {"image": "a.png"}, "_meta": {"title": title}}


def node(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs}


def test_drawing_and_reference_are_found_by_what_they_feed():
    prompt = {
        "1": loader(),
        "2": loader(),
        "3": node("Blur", image=["1", 0]),
        "4": node("ColorizeDiffusion_PrepareSketch", image=["3", 0]),
        "5": node("ColorizeDiffusion_EncodeReference", image=["2", 0]),
    }
    assert drawing_slot(prompt) == ("1", "image")
    assert reference_slot(prompt) == ("2", "image")
    assert previous_slot(prompt) is None


def test_titles_go_before_what_is_fed_so_that_any_packs_nodes_work():
    prompt = {
        "1": loader("My reference"),
        "2": loader("Line drawing"),
        "3": loader("Previous frame"),
        "4": node("Other", a=["1", 0], b=["2", 0], c=["3", 0]),
    }
    assert drawing_slot(prompt) == ("2", "image")
    assert reference_slot(prompt) == ("1", "image")
    assert previous_slot(prompt) == ("3", "image")


def test_a_workflows_only_picture_is_the_drawing():
    assert drawing_slot({"7": loader(), "8": node("Other", image=["7", 0])}) == ("7", "image")


def test_a_workflows_only_video_is_the_drawing_and_pictures_beside_it_are_found_by_what_they_feed():
    prompt = {
        "1": node("LoadVideo", file="a.mp4"),
        "2": node("GetVideoComponents", video=["1", 0]),
        "3": loader(),
        "4": node("ColorizeDiffusion_PrepareSketch", image=["2", 0]),
        "5": node("ColorizeDiffusion_EncodeReference", image=["3", 0]),
    }
    assert drawing_slot(prompt) == ("1", "file")
    assert reference_slot(prompt) == ("3", "image")


def test_where_it_is_not_clear_there_is_a_sentence_with_the_option_to_use():
    prompt = {"1": loader(), "2": loader()}
    with pytest.raises(ValueError, match=r"takes the drawing: .*--drawing-input NODE.INPUT"):
        drawing_slot(prompt)
    with pytest.raises(ValueError, match=r"takes the reference: .*--reference-input NODE.INPUT"):
        reference_slot(prompt)


@pytest.fixture
def named():
    sampler = {"class_type": "Sampler", "inputs": {"seed": 1, "latent": ["1", 0]}, "_meta": {"title": "v1.5 sampler"}}
    return {
        "1": node("Empty", width=8),
        "2": sampler,
        "3": node("Noise", noise_seed=4),
        "4": node("Noise", seed=["1", 0]),
    }


@pytest.mark.parametrize("text", ["2.seed", "v1.5 sampler.seed", "Sampler.seed"])
def test_an_input_is_named_by_the_nodes_id_title_or_type(named, text):
    assert find_slot(named, text) == ("2", "seed")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("9.seed", r"no node '9' among 1 \(Empty\), 2 \(v1\.5 sampler\)"),
        ("Noise.noise_seed", "may mean any of the nodes 3, 4"),
        ("2.steps", "has no value 'steps' to set, but seed"),
        ("2.latent", "has no value 'latent' to set"),
    ],
)
def test_an_input_that_is_not_there_is_answered_with_what_there_is(named, text, sentence):
    with pytest.raises(ValueError, match=sentence):
        find_slot(named, text)


def test_every_seed_that_is_a_number_is_found(named):
    assert seed_slots(named) == [("2", "seed"), ("3", "noise_seed")]


def test_values_are_json_or_else_text_and_are_set_in_a_copy(named):
    values = {("2", "seed"): parse_value("7"), ("1", "width"): parse_value("a b")}
    changed = with_values(named, values)
    assert changed["2"]["inputs"]["seed"] == 7 and changed["1"]["inputs"]["width"] == "a b"
    assert named["2"]["inputs"]["seed"] == 1
    assert [parse_value(text) for text in ("0.5", "true", "null", '"1"')] == [0.5, True, None, "1"]

"""What goes on all the same but is hardly meant is said on the node itself, and taken back when it is mended."""

import pytest
import torch

SKETCH_NODES = {
    "sketch": {
        "class_type": "ColorizeDiffusion_EncodeSketch",
        "inputs": {"sketch_image": ["drawing", 0], "strength": 1.0, "per_scale": ""},
    },
    "seen": {"class_type": "Capture", "inputs": {"value": ["sketch", 0]}},
}


class Given:
    """A node that gives the picture of that name."""

    INPUT_TYPES = classmethod(lambda cls: {"required": {"name": ("STRING", {})}})
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "give"
    CATEGORY = "tests"

    def give(self, name):
        picture = torch.full((1, 64, 64, 3), float(name == "paper"))
        if name != "empty":
            picture[:, 30:34, 8:56] = 1 - picture[:, 30:34, 8:56]
        return (picture,)


@pytest.fixture
def said(host, monkeypatch):
    """What nodes were told to show, as (node id, text)."""
    from server import PromptServer

    class Server:
        def send_progress_text(self, text, node_id):
            sent.append((node_id, text))

    sent = []
    monkeypatch.setattr(PromptServer, "instance", Server(), raising=False)
    monkeypatch.setitem(host.NODE_CLASS_MAPPINGS, "Given", Given)
    return sent


def given(name: str) -> dict:
    return {"class_type": "Given", "inputs": {"name": name}}


def test_an_unprepared_drawing_is_named_on_encode_sketch_until_it_is_prepared(run_prompt, said):
    assert run_prompt({"drawing": given("paper")} | SKETCH_NODES).success
    ((key, text),) = said
    assert key == "sketch" and "Mostly white" in text and "Prepare Sketch" in text
    assert run_prompt({"drawing": given("lines")} | SKETCH_NODES).success
    assert said[1:] == [("sketch", "Resolved.")]


def test_nothing_is_said_where_nothing_is_amiss(run_prompt, said):
    assert run_prompt({"drawing": given("lines")} | SKETCH_NODES).success
    assert said == []


def test_a_dark_drawing_is_named_on_line_layer(run_prompt, said):
    inputs = {"image": ["drawing", 0], "sketch": ["drawing", 0], "line_color": "", "line_opacity": 1.0}
    layer = {"class_type": "ColorizeDiffusion_LineLayer", "inputs": inputs}
    seen = {"class_type": "Capture", "inputs": {"value": ["layer", 0]}}
    assert run_prompt({"drawing": given("lines"), "layer": layer, "seen": seen}).success
    ((key, text),) = said
    assert key == "layer" and "mostly dark" in text and "Invert Image" in text


def test_a_drawing_without_lines_is_named_on_prepare_sketch(run_prompt, said):
    size = {"width": 64, "height": 64, "polarity": "auto", "batch_size": 0}
    prepare = {"class_type": "ColorizeDiffusion_PrepareSketch", "inputs": {"image": ["drawing", 0], **size}}
    seen = {"class_type": "Capture", "inputs": {"value": ["prepare", 0]}}
    assert run_prompt({"drawing": given("empty"), "prepare": prepare, "seen": seen}).success
    ((key, text),) = said
    assert key == "prepare" and "No lines" in text

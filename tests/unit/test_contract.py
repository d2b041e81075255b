"""The comparison of the node contract with a release's, on small contracts and the real one."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
CONTRACT = TESTS / "host" / "schema.json"
RELEASED = {
    "Node": {
        "inputs": [
            {"id": "image", "type": "IMAGE", "optional": False},
            {"id": "mode", "type": "COMBO", "options": ["auto", "by hand"], "optional": False},
            {"id": "strength", "type": "FLOAT", "min": 0, "max": 2, "optional": True},
        ],
        "outputs": [{"id": "latent", "type": "LATENT"}],
    }
}


def compare(tmp_path, now: dict) -> str:
    """What the command says of `now`; empty where nothing is broken."""
    paths = tmp_path / "released.json", tmp_path / "now.json"
    for path, contract in zip(paths, (RELEASED, now), strict=True):
        path.write_text(json.dumps(contract))
    done = subprocess.run([sys.executable, TESTS / "contract.py", *paths], capture_output=True, text=True)
    assert (done.returncode == 0) == (done.stderr == "")
    return done.stderr.strip()


def test_nodes_and_optional_inputs_and_wider_ranges_may_come(tmp_path):
    now = copy.deepcopy(RELEASED) | {"Another": RELEASED["Node"]}
    node = now["Node"]
    node["inputs"].append({"id": "mask", "type": "MASK", "optional": True})
    node["inputs"][1]["options"].append("never")
    node["inputs"][2] |= {"min": -1, "max": 3}
    node["outputs"].append({"id": "image", "type": "IMAGE"})
    assert compare(tmp_path, now) == ""


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda now: now.clear(), "Node is gone."),
        (lambda now: now["Node"]["inputs"].reverse(), "Node: its inputs began with image, mode, strength, and do no"),
        (lambda now: now["Node"]["outputs"].clear(), "Node: its outputs began with latent, and do no more."),
        (lambda now: now["Node"]["inputs"][0].update(type="MASK"), "Node: image was IMAGE and is MASK."),
        (lambda now: now["Node"]["inputs"][1]["options"].remove("auto"), "Node: mode could be auto."),
        (lambda now: now["Node"]["inputs"][2].update(max=1), "Node: strength could be 2."),
        (lambda now: now["Node"]["inputs"][2].update(min=1), "Node: strength could be 0."),
        (lambda now: now["Node"]["inputs"][2].update(optional=False), "Node: strength was optional and is not."),
        (
            lambda now: now["Node"]["inputs"].append({"id": "new", "type": "INT", "optional": False}),
            "Node: the new input new is not optional.",
        ),
    ],
)
def test_what_breaks_a_saved_workflow_is_said(tmp_path, change, sentence):
    now = copy.deepcopy(RELEASED)
    change(now)
    assert compare(tmp_path, now).startswith(sentence)


def test_the_contract_of_today_can_be_compared(tmp_path):
    done = subprocess.run([sys.executable, TESTS / "contract.py", CONTRACT, CONTRACT], capture_output=True)
    assert done.returncode == 0

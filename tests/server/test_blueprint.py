"""The blueprint: up to date with the nodes, and offered by ComfyUI under the pack's name."""

import json
from pathlib import Path

from gallery.blueprint import NAME
from gallery.writing import saved_blueprint

FILE = Path(__file__).parents[2] / "subgraphs" / f"{NAME}.json"


def test_it_is_what_the_gallery_makes_of_it(object_info):
    assert json.loads(FILE.read_text()) == saved_blueprint(object_info)


def test_its_links_agree_at_both_ends():
    (subgraph,) = json.loads(FILE.read_text())["definitions"]["subgraphs"]
    nodes = {node["id"]: node for node in subgraph["nodes"]}
    for link in subgraph["links"]:
        if origin := nodes.get(link["origin_id"]):
            assert link["id"] in origin["outputs"][link["origin_slot"]]["links"]
        else:
            assert link["id"] in subgraph["inputs"][link["origin_slot"]]["linkIds"]
        if target := nodes.get(link["target_id"]):
            assert link["id"] == target["inputs"][link["target_slot"]]["link"]
        else:
            assert link["id"] in subgraph["outputs"][link["target_slot"]]["linkIds"]


def test_comfyui_offers_it(server):
    offered = server.request("/api/global_subgraphs").values()
    assert [entry["info"]["node_pack"] for entry in offered if entry["name"] == NAME] == [
        "custom_nodes.colorize-diffusion"
    ]

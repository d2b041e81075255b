"""The blueprint: coloring as one node, with a graph of ours inside. ComfyUI offers it in its node search.

Its file name is its name there, and all that the search knows of it.
"""

import uuid
from dataclasses import dataclass

from .graph import Graph, Node, is_widget, kind_of
from .parts import arrange
from .settings import Setting

NAME = "Colorize line art (anime, manga)"
DESCRIPTION = "Colors a drawing after a reference picture with ColorizeDiffusion."
ENTRY, EXIT = -10, -20  # ids of the sockets at a subgraph's left and right edge
EDGE_WIDTH, EDGE_SLOT = 120, 20


@dataclass(frozen=True)
class Entry:
    """An input of the blueprint, and the inner inputs that it leads to."""

    name: str
    targets: tuple[tuple[Node, str], ...]

    @property
    def is_widget(self) -> bool:
        return is_widget(self.spec)

    @property
    def spec(self) -> list:
        node, name = self.targets[0]
        return next(group[name] for group in node.info["input"].values() if name in group)


def build_blueprint(object_info: dict, version: str, setting: Setting) -> dict:
    """The blueprint's JSON, for the v1 files of a setting."""
    graph = Graph(object_info, version)
    entries, result = line_art_alone(graph, setting)
    inner = graph.saved()
    identity = str(uuid.uuid5(uuid.NAMESPACE_URL, f"colorize-diffusion/{NAME}"))
    subgraph = {
        "id": identity,
        "version": 1,
        "state": {
            "lastGroupId": 0,
            "lastNodeId": inner["last_node_id"],
            "lastLinkId": 0,  # set below
            "lastRerouteId": 0,
        },
        "revision": 0,
        "config": {},
        "name": NAME,
        "category": "ColorizeDiffusion",
        "description": DESCRIPTION,
        "inputNode": {"id": ENTRY, "bounding": [-EDGE_WIDTH - 60, 0, EDGE_WIDTH, EDGE_SLOT * (len(entries) + 2)]},
        "outputNode": {"id": EXIT, "bounding": [inner_width(graph) + 60, 0, EDGE_WIDTH, 3 * EDGE_SLOT]},
        "widgets": [],
        "nodes": inner["nodes"],
        "groups": [],
        "extra": {},
    }
    subgraph |= {"links": saved_links(inner)}
    subgraph |= {"inputs": [enter(subgraph, slot, entry) for slot, entry in enumerate(entries)]}
    subgraph |= {"outputs": [leave(subgraph, result)]}
    subgraph["state"]["lastLinkId"] = len(subgraph["links"])
    return {
        "revision": 0,
        "last_node_id": inner["last_node_id"] + 1,
        "last_link_id": 0,
        "nodes": [outer_node(identity, inner["last_node_id"] + 1, entries, version)],
        "links": [],
        "version": 0.4,
        "definitions": {"subgraphs": [subgraph]},
        "extra": {"BlueprintDescription": DESCRIPTION},
    }


def line_art_alone(graph: Graph, setting: Setting) -> tuple[list[Entry], Node]:
    """The nodes from drawing and reference to the picture: what leads in, and the node whose output is the result."""
    model = setting.models["v1"]
    checkpoint = graph.add("ColorizeDiffusion_LoadCheckpoint", models=[model], ckpt_name=model["name"])
    clip = graph.add("ColorizeDiffusion_LoadCLIP", models=[setting.clip], clip_name=setting.clip["name"])
    prepare = graph.add("ColorizeDiffusion_PrepareSketch", width=setting.side["v1"], height=setting.side["v1"])
    sketch = graph.add("ColorizeDiffusion_EncodeSketch", sketch_image=prepare["sketch_image"])
    tokens = graph.add("ColorizeDiffusion_EncodeReference", clip_vision=clip["clip_vision"])
    sampler = graph.add(
        "ColorizeDiffusion_Sampler",
        model=checkpoint["model"],
        tokens=tokens["tokens"],
        sketch=sketch["sketch"],
        latent=prepare["latent"],
        reference_guidance=setting.reference_guidance,
    )
    decoded = graph.add("VAEDecode", samples=sampler["latent"], vae=checkpoint["vae"])
    cropped = graph.add("ColorizeDiffusion_CropToSketch", image=decoded["IMAGE"])
    arrange(graph, [checkpoint, clip], [prepare, sketch, tokens], [sampler], [decoded, cropped])
    entries = [
        Entry("drawing", ((prepare, "image"), (cropped, "sketch"))),
        Entry("drawing_mask", ((prepare, "mask"),)),
        Entry("reference", ((tokens, "image"),)),
        Entry("reference_mask", ((tokens, "mask"),)),
        *(Entry(name, ((prepare, name),)) for name in ("width", "height")),
        Entry("strength", ((sketch, "strength"),)),
        *(Entry(name, ((sampler, name),)) for name in ("reference_guidance", "seed", "steps")),
        Entry("ckpt_name", ((checkpoint, "ckpt_name"),)),
        Entry("clip_name", ((clip, "clip_name"),)),
    ]
    return entries, cropped


def inner_width(graph: Graph) -> int:
    return max(node.position[0] + node.width for node in graph.nodes)


def saved_links(inner: dict) -> list[dict]:
    """The links of a graph, as a subgraph has them."""
    names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    return [dict(zip(names, link, strict=True)) for link in inner["links"]]


def connect(subgraph: dict, origin: tuple[int, int], target: tuple[int, int], kind: str) -> int:
    """Adds a link between (node id, slot) and (node id, slot); gives its id."""
    number = len(subgraph["links"]) + 1
    ends = {"origin_id": origin[0], "origin_slot": origin[1], "target_id": target[0], "target_slot": target[1]}
    subgraph["links"].append({"id": number, **ends, "type": kind})
    return number


def enter(subgraph: dict, slot: int, entry: Entry) -> dict:
    """The socket of an entry, connected inside."""
    nodes = {node["id"]: node for node in subgraph["nodes"]}
    links = []
    for target, name in entry.targets:
        sockets = nodes[target.id]["inputs"]
        index = next(index for index, socket in enumerate(sockets) if socket["name"] == name)
        kind = sockets[index]["type"]
        sockets[index]["link"] = connect(subgraph, (ENTRY, slot), (target.id, index), kind)
        links.append(sockets[index]["link"])
    identity = str(uuid.uuid5(uuid.UUID(subgraph["id"]), entry.name))
    place = [-EDGE_WIDTH + 20, EDGE_SLOT * (slot + 1)]
    return {"id": identity, "name": entry.name, "type": kind, "linkIds": links, "pos": place}


def leave(subgraph: dict, result: Node) -> dict:
    """The socket of the result, connected inside."""
    (saved,) = [node for node in subgraph["nodes"] if node["id"] == result.id]
    kind = saved["outputs"][0]["type"]
    link = connect(subgraph, (result.id, 0), (EXIT, 0), kind)
    saved["outputs"][0]["links"].append(link)
    identity = str(uuid.uuid5(uuid.UUID(subgraph["id"]), "result"))
    left = subgraph["outputNode"]["bounding"][0]
    return {"id": identity, "name": "image", "type": kind, "linkIds": [link], "pos": [left + 20, EDGE_SLOT]}


def outer_node(identity: str, number: int, entries: list[Entry], version: str) -> dict:
    """The one node that a user sees: its widgets are those of the entries that are none of sockets."""
    sockets = []
    for entry in entries:
        socket = {"name": entry.name, "type": kind_of(entry.spec), "link": None}
        if entry.is_widget:
            socket["widget"] = {"name": entry.name}
        sockets.append(socket)
    shown = [entry for entry in entries if entry.is_widget]
    return {
        "id": number,
        "type": identity,
        "pos": [0, 0],
        "size": [320, 400],
        "flags": {},
        "order": 0,
        "mode": 0,
        "title": NAME,
        "inputs": sockets,
        "outputs": [{"name": "image", "type": "IMAGE", "links": []}],
        "properties": {
            "proxyWidgets": [[str(node.id), name] for entry in shown for node, name in entry.targets],
            "cnr_id": "colorize-diffusion",
            "ver": version,
        },
        "widgets_values": [],
    }

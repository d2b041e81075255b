"""A workflow as the browser saves it, put together from nodes and what flows between them.

`object_info` is ComfyUI's own description of its nodes: it says which inputs are sockets and which widgets, in which
order, and what values they have if none is given.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from colorize_batch.workflow import AFTER_GENERATE, UPLOAD, WIDGET_TYPES, widget_names

SLOT, WIDGET, TITLE, GAP, SPACE = 20, 25, 36, 24, 32  # heights on the canvas, spaces below and beside nodes
TALL = {"LoadImage": 290, "LoadImageMask": 290, "SaveImage": 290, "PreviewImage": 290}  # with their picture
SAMPLERS = ("ColorizeDiffusion_Sampler", "KSampler")
LIVE_PREVIEW = 210  # what a sampler grows by while it runs
GROWING = "COMFY_AUTOGROW_V3"  # type of an input of as many sockets as are connected
TEXT_HEIGHT = 64  # of a widget of several lines


@dataclass(frozen=True)
class Output:
    """One output of a node: a wire starts here."""

    node: "Node"
    index: int
    kind: str


@dataclass
class Node:
    """A node on the canvas; `node["image"]` is its output of that name."""

    id: int
    info: dict
    title: str | None
    inputs: dict[str, Any]
    height: int
    models: Sequence[dict] = ()
    text: str | None = None  # of a note
    position: tuple[int, int] = (0, 0)
    width: int = 300
    collapsed: bool = False  # to its title
    labels: dict[str, str] = field(default_factory=dict)  # what inputs are called in an app, by their names

    def __getitem__(self, name: str) -> Output:
        index = self.info["output_name"].index(name)
        return Output(self, index, self.info["output"][index])


@dataclass
class Graph:
    """Nodes in the order in which they were added."""

    object_info: dict
    version: str  # of the pack, in the nodes' properties
    nodes: list[Node] = field(default_factory=list)
    extra: dict = field(default_factory=dict)  # what else the file says

    def add(self, kind: str, title: str | None = None, models: Sequence[dict] = (), **inputs: Any) -> Node:
        """A node of that kind; an input is an Output, or the value of a widget. ValueError for an unknown input."""
        info = self.object_info[kind]
        known = {name for group in info["input"].values() for name in group}
        if unknown := inputs.keys() - known:
            raise ValueError(f"{kind} has no input {', '.join(sorted(unknown))}; it has {', '.join(sorted(known))}.")
        grown = {f"{name}.{key}": value for name, many in inputs.items() for key, value in numbered(info, name, many)}
        node = Node(len(self.nodes) + 1, info, title, inputs | grown, node_height(kind, info, len(grown)), models)
        self.nodes.append(node)
        return node

    def note(self, text: str, height: int) -> Node:
        node = Node(len(self.nodes) + 1, {"name": "MarkdownNote", "output_name": []}, None, {}, height, text=text)
        self.nodes.append(node)
        return node

    def arrange(self, columns: Sequence[Sequence[Node]], widths: Sequence[int]) -> None:
        """Places the nodes in columns from left to right, each from top to bottom."""
        left = 0
        for column, width in zip(columns, widths, strict=True):
            top = 0
            for node in column:
                node.position, node.width = (left, top + TITLE), width
                top += TITLE + (0 if node.collapsed else node.height) + GAP
            left += width + SPACE

    def show_as_app(self, form: Sequence[tuple[Node, str, str]], results: Sequence[Node]) -> None:
        """Opens as a form of these widgets (node, name, label) and results instead of as nodes."""
        for node, name, label in form:
            node.labels[name] = label
        inputs = [[node.id, name] for node, name, _ in form]
        self.extra |= {"linearMode": True, "linearData": {"inputs": inputs, "outputs": [node.id for node in results]}}

    def saved(self) -> dict:
        """The workflow's JSON."""
        links = []
        nodes = [self._saved_node(node, links) for node in self.nodes]
        by_id = {node["id"]: node for node in nodes}
        for number, origin, slot, *_ in links:
            by_id[origin]["outputs"][slot]["links"].append(number)
        return {
            "revision": 0,
            "last_node_id": len(nodes),
            "last_link_id": len(links),
            "nodes": nodes,
            "links": links,
            "groups": [],
            "config": {},
            "extra": self.extra,
            "version": 0.4,
        }

    def _saved_node(self, node: Node, links: list) -> dict:
        saved = {
            "id": node.id,
            "type": node.info["name"],
            "pos": list(node.position),
            "size": [node.width, node.height],
            "flags": {"collapsed": True} if node.collapsed else {},
            "order": node.id - 1,
            "mode": 0,
        }
        if node.title:
            saved["title"] = node.title
        if node.text is not None:
            return saved | {"inputs": [], "outputs": [], "properties": {}, "widgets_values": [node.text]}
        specs = input_specs(node.info)
        specs = {name: spec for name, spec in specs.items() if kind_of(spec) != GROWING}
        specs |= {name: [node.inputs[name].kind] for name in node.inputs if "." in name}
        names = sorted(specs, key=lambda name: is_widget(specs[name]))  # sockets first, else as the node has them
        sockets = []
        for slot, name in enumerate(names):
            socket = {"localized_name": name, "name": name, "type": kind_of(specs[name])}
            if name in node.info["input"].get("optional", {}) and not is_widget(specs[name]):
                socket["shape"] = 7  # drawn as optional
            if is_widget(specs[name]):
                socket["widget"] = {"name": name}
            if name in node.labels:
                socket["label"] = node.labels[name]
            socket["link"] = None
            if isinstance(origin := node.inputs.get(name), Output):
                links.append([len(links) + 1, origin.node.id, origin.index, node.id, slot, origin.kind])
                socket["link"] = len(links)
            sockets.append(socket)
        outputs = [
            {"localized_name": name, "name": name, "type": kind, "links": []}
            for name, kind in zip(node.info["output_name"], node.info["output"], strict=True)
        ]
        own = node.info["python_module"].startswith("custom_nodes")
        pack = {"cnr_id": "colorize-diffusion", "ver": self.version} if own else {"cnr_id": "comfy-core"}
        properties = pack | {"Node name for S&R": node.info["name"]}
        if models := [model for model in node.models if model["url"]]:
            properties["models"] = models
        values = widget_values(node.info, node.inputs)
        return saved | {"inputs": sockets, "outputs": outputs, "properties": properties, "widgets_values": values}


def input_specs(info: dict) -> dict[str, list]:
    """Each input's type and options, in order, those that nothing is shown for left out."""
    groups = (info["input"].get(group, {}) for group in ("required", "optional"))
    return {name: spec for group in groups for name, spec in group.items()}


def numbered(info: dict, name: str, values: Any) -> list[tuple[str, Output]]:
    """The sockets, by name, of an input that grows with what is connected to it; none for any other input."""
    spec = input_specs(info)[name]
    if kind_of(spec) != GROWING:
        return []
    return [(f"{options_of(spec)['template']['prefix']}{number}", value) for number, value in enumerate(values)]


def kind_of(spec: list) -> str:
    return "COMBO" if isinstance(spec[0], list) else spec[0]


def options_of(spec: list) -> dict:
    return spec[1] if len(spec) > 1 else {}


def is_widget(spec: list) -> bool:
    return kind_of(spec) in WIDGET_TYPES and not options_of(spec).get("forceInput")


def default_of(spec: list) -> Any:
    """What a widget holds if nothing is said: its default, else the first choice, else nothing of its kind."""
    options = options_of(spec)
    if "default" in options:
        return options["default"]
    if kind_of(spec) == "COMBO":
        choices = spec[0] if isinstance(spec[0], list) else options["options"]
        return choices[0] if choices else ""
    return {"STRING": "", "BOOLEAN": False}.get(kind_of(spec), 0)


def widget_values(info: dict, inputs: dict[str, Any]) -> list:
    """The values of all widgets in order, with those of the widgets that a seed and an upload bring along."""
    extra = {AFTER_GENERATE: "fixed", UPLOAD: "image"}
    specs, values = input_specs(info), []
    for name in widget_names(info):
        given = inputs.get(name)
        missing = given is None or isinstance(given, Output)
        values.append(extra[name] if name in extra else default_of(specs[name]) if missing else given)
    return values


def node_height(kind: str, info: dict, grown: int) -> int:
    """About how high the browser draws a node, without its title."""
    if kind in TALL:
        return TALL[kind]
    specs = input_specs(info)
    sockets = grown + sum(not is_widget(spec) for spec in specs.values())
    height = SLOT * max(sockets, len(info["output"])) + 12
    for spec in specs.values():
        options = options_of(spec)
        if is_widget(spec):
            height += TEXT_HEIGHT if options.get("multiline") else WIDGET
            height += WIDGET if options.get(AFTER_GENERATE) else 0
    return height + (LIVE_PREVIEW if kind in SAMPLERS else 0)

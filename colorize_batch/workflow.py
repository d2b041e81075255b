"""Workflows: read from a file, turned into the prompt that ComfyUI queues, and the inputs in it that a batch fills."""

import copy
import json
from pathlib import Path

Prompt = dict[str, dict]
Slot = tuple[str, str]  # a node's id and the name of its input

# Input kinds that are widgets: the browser saves a value for each, connected or not.
WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
AFTER_GENERATE = "control_after_generate"  # the widget that a seed brings along
UPLOAD = "upload"  # the button that a picture or a video brings along
BUTTONS = (AFTER_GENERATE, UPLOAD)
NOTES = ("Note", "MarkdownNote")
MODES = {2: "muted", 4: "bypassed"}
EXPORT = "In ComfyUI, save it with File > Export (API) and use that file."

DRAWING_TITLES = ("drawing", "sketch", "line")
REFERENCE_TITLES = ("reference",)
PREVIOUS_TITLES = ("previous",)
DRAWING_NODES = ("ColorizeDiffusion_PrepareSketch", "ColorizeDiffusion_EncodeSketch")
REFERENCE_NODES = ("ColorizeDiffusion_EncodeReference",)
SEEDS = ("seed", "noise_seed")
PICTURE_INPUTS = ("image",)
VIDEO_INPUTS = ("file", "video")


# --- the file -----------------------------------------------------------------------------------------------------


def read_workflow(path: Path) -> dict:
    """The JSON of a workflow file, either as the browser saves it or in API format. Raises ValueError."""
    try:
        workflow = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise ValueError(f"{path} is no JSON file: save the workflow in ComfyUI and use that file.") from None
    if not isinstance(workflow, dict) or not (is_prompt(workflow) or "nodes" in workflow):
        raise ValueError(f"{path} is no workflow of ComfyUI: save the workflow in ComfyUI and use that file.")
    return workflow


def is_prompt(workflow: dict) -> bool:
    """Whether a workflow is in API format: what ComfyUI queues, as it is."""
    return bool(workflow) and all(isinstance(node, dict) and "class_type" in node for node in workflow.values())


def prompt_of_saved(workflow: dict, object_info: dict) -> Prompt:
    """A workflow as the browser saves it, turned into the prompt that it queues.

    `object_info` is ComfyUI's own description of its nodes. Raises ValueError for what only the browser can turn into a
    prompt for sure: subgraphs, muted and bypassed nodes, nodes of the browser alone, values that do not fit the node.
    """
    if workflow.get("definitions", {}).get("subgraphs"):
        raise ValueError(f"The workflow has subgraphs. {EXPORT}")
    sources = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    prompt = {}
    for node in workflow["nodes"]:
        if node["type"] in NOTES:
            continue
        name = f"Node {node['id']} ({node.get('title') or node['type']})"
        if node.get("mode") in MODES:
            raise ValueError(f"{name} is {MODES[node['mode']]}. {EXPORT}")
        if node["type"] not in object_info:
            raise ValueError(f"{name} is of a kind that this ComfyUI does not know: install its pack. {EXPORT}")
        info = object_info[node["type"]]
        names, values = widget_names(info), node.get("widgets_values") or []
        if not isinstance(values, list) or len(values) > len(names):
            raise ValueError(f"{name} has other widgets than this ComfyUI's: save the workflow anew. {EXPORT}")
        # What the node got since the workflow was saved has its default, as in the browser.
        added = {key: widget_default(info, key) for key in names[len(values) :] if key not in BUTTONS}
        saved = {key: value for key, value in zip(names, values, strict=False) if key not in BUTTONS}
        literals = saved | added
        links = {socket["name"]: sources[socket["link"]] for socket in node.get("inputs", []) if socket.get("link")}
        title = node.get("title") or info["display_name"]
        prompt[str(node["id"])] = {
            "class_type": node["type"],
            "inputs": literals | links,
            "_meta": {"title": title},
        }
    return prompt


def widget_names(info: dict) -> list[str]:
    """Names of a node's widgets, in the order in which a workflow keeps their values."""
    names = []
    for group in ("required", "optional"):
        buttons = []  # the browser adds them behind the group's own
        for name in info["input_order"].get(group, []):
            kind, options = [*info["input"][group][name], {}][:2]
            if (isinstance(kind, list) or kind in WIDGET_TYPES) and not options.get("forceInput"):
                names.append(name)
                names += [AFTER_GENERATE] if options.get(AFTER_GENERATE) else []
                buttons += [UPLOAD] if options.get("image_upload") or options.get("video_upload") else []
        names += buttons
    return names


def widget_default(info: dict, name: str):
    """What the browser gives a widget that a saved workflow does not know."""
    spec = next(group[name] for group in info["input"].values() if name in group)
    kind, options = [*spec, {}][:2]
    choices = kind if isinstance(kind, list) else options.get("options", [])
    return options.get("default", choices[0] if choices else None)


# --- what a batch fills -------------------------------------------------------------------------------------------


def is_link(value) -> bool:
    """Whether the value of an input is another node's output."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int)


def title_of(prompt: Prompt, key: str) -> str:
    return prompt[key].get("_meta", {}).get("title", "")


def find_slot(prompt: Prompt, text: str) -> Slot:
    """The input that NODE.INPUT names; NODE is an id, a title or a type. Raises ValueError with what there is."""
    node, _, name = text.rpartition(".")
    known = [
        key for key, value in prompt.items() if node in (key, title_of(prompt, key)) or node == value["class_type"]
    ]
    if not known:
        titles = ", ".join(f"{key} ({title_of(prompt, key) or value['class_type']})" for key, value in prompt.items())
        raise ValueError(f"{text} should be NODE.INPUT, and there is no node {node!r} among {titles}.")
    if len(known) > 1:
        raise ValueError(f"{text} may mean any of the nodes {', '.join(known)}: write the id instead of {node!r}.")
    literals = [key for key, value in prompt[known[0]]["inputs"].items() if not is_link(value)]
    if name not in literals:
        raise ValueError(f"{text}: node {known[0]} has no value {name!r} to set, but {', '.join(literals) or 'none'}.")
    return known[0], name


def parse_value(text: str):
    """A value as typed: a number, true, false or any JSON, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def with_values(prompt: Prompt, values: dict[Slot, object]) -> Prompt:
    """A copy of the prompt with other values for some inputs."""
    changed = copy.deepcopy(prompt)
    for (node, name), value in values.items():
        changed[node]["inputs"][name] = value
    return changed


def seed_slots(prompt: Prompt) -> list[Slot]:
    """Every seed that is a number of its node's own."""
    return [(key, name) for key, node in prompt.items() for name in SEEDS if isinstance(node["inputs"].get(name), int)]


def picture_slots(prompt: Prompt) -> list[Slot]:
    """Every node that loads a picture or a video: it has one by name, and nothing comes into it."""
    return [
        (key, name)
        for key, node in prompt.items()
        for name in (*PICTURE_INPUTS, *VIDEO_INPUTS)
        if isinstance(node["inputs"].get(name), str) and not any(map(is_link, node["inputs"].values()))
    ]


def upstream(prompt: Prompt, key: str) -> set[str]:
    """Ids of all nodes that a node's inputs come from."""
    seen, todo = set(), [key]
    while todo:
        links = [value for value in prompt[todo.pop()]["inputs"].values() if is_link(value)]
        todo += [link[0] for link in links if link[0] not in seen]
        seen |= {link[0] for link in links}
    return seen


def guess_picture(prompt: Prompt, titles: tuple[str, ...], fed: tuple[str, ...] = ()) -> Slot | None:
    """The only picture whose node has one of these words in its title, or else the only one that feeds such nodes."""
    pictures = picture_slots(prompt)
    titled = [slot for slot in pictures if any(word in title_of(prompt, slot[0]).lower() for word in titles)]
    if titled:
        return titled[0] if len(titled) == 1 else None
    sources = [upstream(prompt, key) for key, node in prompt.items() if node["class_type"] in fed]
    feeding = [slot for slot in pictures if any(slot[0] in source for source in sources)]
    return feeding[0] if len(feeding) == 1 else None


def drawing_slot(prompt: Prompt) -> Slot:
    """Where the drawing goes: by title, by what is fed, or the workflow's only picture. Raises ValueError."""
    pictures = picture_slots(prompt)
    slot = pictures[0] if len(pictures) == 1 else guess_picture(prompt, DRAWING_TITLES, DRAWING_NODES)
    return slot or unclear("drawing", "sketch")


def reference_slot(prompt: Prompt) -> Slot:
    """Where the reference goes: by title, or by what is fed. Raises ValueError."""
    return guess_picture(prompt, REFERENCE_TITLES, REFERENCE_NODES) or unclear("reference", "reference")


def unclear(role: str, word: str) -> Slot:
    raise ValueError(
        f"It is not clear which node takes the {role}: give it a title with {word!r} in it, or name it with "
        f"--{role}-input NODE.INPUT."
    )


def previous_slot(prompt: Prompt) -> Slot | None:
    """Where the last colored frame of a shot goes: a picture whose title says 'previous', if there is one."""
    return guess_picture(prompt, PREVIOUS_TITLES)

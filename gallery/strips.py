"""What the help pages show of each node, with the demo's files: what it makes, and its settings too low and too high.

A strip is a list of panels: a label of names and numbers, which every language reads, and an IMAGE.
"""

from collections.abc import Callable, Sequence

from .graph import Graph, Node, Output
from .parts import Base, base, colorize, mask
from .settings import Setting
from .words import local_text

Panel = tuple[str, Output]

PREFIX = "ColorizeDiffusion_"


def colored(graph: Graph, setting: Setting, start: Base, tokens: Output | None = None, **inputs) -> Output:
    """The picture that Colorize makes with these inputs in place of the template's."""
    sampler = colorize(graph, setting, start, tokens or start.tokens[0]["tokens"], **inputs)
    return decoded(graph, start, sampler["latent"])


def decoded(graph: Graph, start: Base, latent: Output) -> Output:
    return graph.add("VAEDecode", samples=latent, vae=start.checkpoint["vae"])["IMAGE"]


def as_image(graph: Graph, area: Output) -> Output:
    return graph.add("MaskToImage", mask=area)["IMAGE"]


def settings_of_colorize(name: str, values: Sequence[float]) -> Callable[[Graph, Setting], list[Panel]]:
    """Panels for several values of one input of Colorize."""

    def build(graph: Graph, setting: Setting) -> list[Panel]:
        start = base(graph, setting)
        return [(f"{name} {value:g}", colored(graph, setting, start, **{name: value})) for value in values]

    return build


def checkpoint(graph: Graph, setting: Setting) -> list[Panel]:
    start = base(graph, setting)
    panels = [("reference", start.references[0]["IMAGE"])]
    for name, value in ("prediction", "v"), ("prediction", "eps"), ("token_type", "cls"):
        file = setting.models["v1"]["name"]
        loaded = graph.add("ColorizeDiffusion_LoadCheckpoint", ckpt_name=file, **{name: value})
        panels.append((f"{name} {value}", colored(graph, setting, start, model=loaded["model"])))
    return panels


def clip(graph: Graph, setting: Setting) -> list[Panel]:
    start = base(graph, setting)
    image = start.references[0]["IMAGE"]
    words = ("hair", "shirt", "background")
    return [("image", image), *((word, heatmap(graph, start, word)) for word in words)]


def heatmap(graph: Graph, start: Base, text: str, **inputs) -> Output:
    given = {"tokens": start.tokens[0]["tokens"], "clip": start.clip["clip"], "image": start.references[0]["IMAGE"]}
    return graph.add("ColorizeDiffusion_TextHeatmap", **given, text=text, **inputs)["image"]


def text_heatmap(graph: Graph, setting: Setting) -> list[Panel]:
    start = base(graph, setting)
    low, high = thresholds(0.1, 0.2, 0.3, 0.4), thresholds(0.8, 0.85, 0.9, 0.95)
    return [
        (setting.control, heatmap(graph, start, setting.control)),
        ("grid", heatmap(graph, start, setting.control, grid=True)),
        ("0.1, 0.2, 0.3, 0.4", heatmap(graph, start, setting.control, **low)),
        ("0.8, 0.85, 0.9, 0.95", heatmap(graph, start, setting.control, **high)),
    ]


def thresholds(*values: float) -> dict[str, float]:
    return {f"threshold_{index}": value for index, value in enumerate(values)}


def prepare_sketch(graph: Graph, setting: Setting) -> list[Panel]:
    start = base(graph, setting)
    wrong = graph.add("ColorizeDiffusion_PrepareSketch", **start.prepare.inputs | {"polarity": "white lines on black"})
    sketch = graph.add("ColorizeDiffusion_EncodeSketch", sketch_image=wrong["sketch_image"])
    return [
        ("sketch_image", start.prepare["sketch_image"]),
        ("", colored(graph, setting, start)),
        ("white lines on black", wrong["sketch_image"]),
        ("", colored(graph, setting, start, sketch=sketch["sketch"])),
    ]


def sketch_size(graph: Graph, setting: Setting) -> list[Panel]:
    start = base(graph, setting)
    panels = []
    for side in (64, 128, 256, 512):
        size = {"width": side, "height": side}
        canvas = graph.add("ColorizeDiffusion_PrepareSketch", **start.prepare.inputs | size)
        sketch = graph.add("ColorizeDiffusion_EncodeSketch", sketch_image=canvas["sketch_image"])
        inputs = {"sketch": sketch["sketch"], "latent": canvas["latent"]}
        panels.append((f"{side} x {side}", colored(graph, setting, start, **inputs)))
    return panels


def encode_sketch(graph: Graph, setting: Setting) -> list[Panel]:
    start = base(graph, setting)
    panels = []
    for strength in (0, 0.5, 1, 3):
        sketch = graph.add("ColorizeDiffusion_EncodeSketch", **start.sketch.inputs | {"strength": strength})
        panels.append((f"strength {strength:g}", colored(graph, setting, start, sketch=sketch["sketch"])))
    return panels


def crop_to_sketch(graph: Graph, setting: Setting) -> list[Panel]:
    start = base(graph, setting, drawing="Drawing of both")
    padded = colored(graph, setting, start)
    cropped = graph.add("ColorizeDiffusion_CropToSketch", image=padded, sketch=start.drawing["IMAGE"])
    return [("", padded), ("image", cropped["image"])]


def encode_reference(graph: Graph, setting: Setting) -> list[Panel]:
    start = base(graph, setting, ("Reference", "Reference of the right one"))
    panels = []
    for loaded, tokens in zip(start.references, start.tokens, strict=True):
        panels += [("image", loaded["IMAGE"]), ("", colored(graph, setting, start, tokens["tokens"]))]
    return panels


def reference_injection(graph: Graph, setting: Setting) -> list[Panel]:
    start = base(graph, setting)
    given = {"model": start.checkpoint["model"], "vae": start.checkpoint["vae"]}
    panels = [("-", colored(graph, setting, start))]
    for name, value in ("style_fidelity", 0.0), ("style_fidelity", 1.0), ("start_percent", 0.6):
        image = start.references[0]["IMAGE"]
        injected = graph.add("ColorizeDiffusion_ReferenceInjection", **given, image=image, **{name: value})
        panels.append((f"{name} {value:g}", colored(graph, setting, start, model=injected["model"])))
    return panels


def both_references(graph: Graph, setting: Setting) -> tuple[Base, Node]:
    """The drawing of two characters with a reference for each, and the mask of the right one."""
    references = "Reference of the left one", "Reference of the right one"
    start = base(graph, setting, references, drawing="Drawing of both", wide=2)
    return start, mask(graph, setting, "Mask of the right one")


def region(graph: Graph, start: Base, area: Output, strength: float = 1) -> Output:
    left, right = (tokens["tokens"] for tokens in start.tokens)
    given = {"tokens": left, "region_tokens": right, "mask": area, "strength": strength}
    return graph.add("ColorizeDiffusion_RegionReference", **given)["tokens"]


def region_reference(graph: Graph, setting: Setting) -> list[Panel]:
    start, area = both_references(graph, setting)
    panels = [("mask", as_image(graph, area["MASK"]))]
    for strength in (0, 1, 2):
        tokens = region(graph, start, area["MASK"], strength)
        panels.append((f"strength {strength}", colored(graph, setting, start, tokens)))
    return panels


def plain_background(graph: Graph) -> Output:
    return graph.add("EmptyImage", width=256, height=256, color=0xF4A6C0)["IMAGE"]


def with_own_background(graph: Graph, setting: Setting, start: Base, background: Output, **inputs) -> Output:
    """The tokens of Figure and Background with a picture of its own for the background."""
    given = {
        "tokens": start.tokens[0]["tokens"],
        "clip_vision": start.clip["clip_vision"],
        "reference": start.references[0]["IMAGE"],
        "sketch_mask": mask(graph, setting, "Mask of the drawing's figure")["MASK"],
        "background": background,
    }
    return graph.add("ColorizeDiffusion_FigureAndBackground", **given, **inputs)["tokens"]


def figure_and_background(graph: Graph, setting: Setting) -> list[Panel]:
    start, background = base(graph, setting), plain_background(graph)
    panels = [("background", background), ("-", colored(graph, setting, start))]
    for name, value in ("background_strength", 1), ("background_strength", 0.3), ("merging", 0.5), ("merging", 1):
        tokens = with_own_background(graph, setting, start, background, **{name: float(value)})
        panels.append((f"{name} {value:g}", colored(graph, setting, start, tokens)))
    return panels


def global_text(graph: Graph, setting: Setting) -> list[Panel]:
    start = base(graph, setting)
    start.checkpoint.inputs["token_type"] = "cls"
    given = {"tokens": start.tokens[0]["tokens"], "clip": start.clip["clip"]}
    given |= {"target": setting.target, "anchor": setting.anchor}
    panels = []
    for scale in (1.0, 5.0, 10.0, 15.0):
        text = graph.add("ColorizeDiffusion_GlobalText", **given, scale=scale)
        panels.append((f"scale {scale:g}", colored(graph, setting, start, text["tokens"])))
    return panels


def local_text_of(graph: Graph, setting: Setting, start: Base, **inputs) -> Node:
    return graph.add("ColorizeDiffusion_LocalText", **local_text(setting, start, start.tokens[0]) | inputs)


def local_texts(graph: Graph, setting: Setting, choices: Sequence[tuple[str, dict]]) -> list[Panel]:
    start = base(graph, setting)
    panels = []
    for label, inputs in choices:
        text = local_text_of(graph, setting, start, **inputs)
        panels.append((label, colored(graph, setting, start, text["tokens"])))
    return panels


def local_text_scales(graph: Graph, setting: Setting) -> list[Panel]:
    choices = [(f"scale {scale:g}", {"scale": scale}) for scale in (1.0, 4.0, 8.0, 15.0)]
    return local_texts(graph, setting, choices)


def local_text_controls(graph: Graph, setting: Setting) -> list[Panel]:
    high = thresholds(0.9, 0.94, 0.97, 0.99) | {"threshold_mode": "manual", "scale": 15.0}
    edits = {"hair": "red hair", "shirt": "red shirt", "background": "green background"}
    anchors = {"hair": "blonde hair", "shirt": "blue shirt", "background": "blue background"}
    choices = [(f"control {part}", {"control": part, "target": edits[part], "anchor": anchors[part]}) for part in edits]
    return local_texts(graph, setting, [*choices, ("0.9, 0.94, 0.97, 0.99", high)])


def conditioning(graph: Graph, setting: Setting) -> list[Panel]:
    start = base(graph, setting)
    panels = []
    for name, value in ("start_percent", 0), ("start_percent", 0.2), ("start_percent", 0.6), ("end_percent", 0.4):
        given = {"tokens": start.tokens[0]["tokens"], "sketch": start.sketch["sketch"], name: float(value)}
        joined = graph.add("ColorizeDiffusion_Conditioning", **given)
        sampler = graph.add(
            "KSampler",
            model=start.checkpoint["model"],
            positive=joined["positive"],
            negative=joined["no_reference"],
            latent_image=start.prepare["latent"],
            cfg=setting.reference_guidance,
            sampler_name="dpmpp_2m",
            scheduler="karras",
        )
        panels.append((f"{name} {value:g}", decoded(graph, start, sampler["LATENT"])))
    return panels


def guider(graph: Graph, setting: Setting) -> list[Panel]:
    start = base(graph, setting)
    model = start.checkpoint["model"]
    joined = graph.add(
        "ColorizeDiffusion_Conditioning", tokens=start.tokens[0]["tokens"], sketch=start.sketch["sketch"]
    )
    conditions = {name: joined[name] for name in ("positive", "no_reference", "no_sketch")}
    run = {
        "noise": graph.add("RandomNoise")["NOISE"],
        "sampler": graph.add("KSamplerSelect", sampler_name="dpmpp_2m")["SAMPLER"],
        "sigmas": graph.add("BasicScheduler", model=model, scheduler="karras", steps=20)["SIGMAS"],
        "latent_image": start.prepare["latent"],
    }
    panels = []
    for value in (1.0, 2.0, 5.0, 15.0):
        guidance = {"reference_guidance": setting.reference_guidance, "sketch_guidance": value}
        made = graph.add("ColorizeDiffusion_Guider", model=model, **conditions, **guidance)
        sampled = graph.add("SamplerCustomAdvanced", guider=made["guider"], **run)
        panels.append((f"sketch_guidance {value:g}", decoded(graph, start, sampled["output"])))
    return panels


def patched(node: str, choices: Sequence[tuple[str, float]]) -> Callable[[Graph, Setting], list[Panel]]:
    """Panels for a node that takes a model and gives one, with one input of it set."""

    def build(graph: Graph, setting: Setting) -> list[Panel]:
        start = base(graph, setting)
        panels = []
        for name, value in choices:
            changed = graph.add(PREFIX + node, model=start.checkpoint["model"], **{name: value})
            panels.append((f"{name} {value:g}", colored(graph, setting, start, model=changed["model"])))
        return panels

    return build

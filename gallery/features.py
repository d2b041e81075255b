"""What the README shows of each feature, with the demo's files: what is given, on the left, and what comes of it."""

from .graph import Graph, Output
from .layer_strips import flats_of, page_of
from .parts import Base, base
from .settings import Setting
from .strips import (
    Panel,
    both_references,
    colored,
    heatmap,
    local_text_of,
    plain_background,
    region,
    with_own_background,
)


def finished(graph: Graph, setting: Setting, start: Base, tokens: Output) -> Output:
    """The result under the drawing's own lines."""
    image = colored(graph, setting, start, tokens)
    return graph.add("ColorizeDiffusion_LineLayer", image=image, **page_of(start))["image"]


def several_characters(graph: Graph, setting: Setting) -> list[Panel]:
    start, area = both_references(graph, setting)
    left, right = (loaded["IMAGE"] for loaded in start.references)
    tokens = region(graph, start, area["MASK"])
    return [("", start.drawing["IMAGE"]), ("", left), ("", right), ("", finished(graph, setting, start, tokens))]


def own_background(graph: Graph, setting: Setting) -> list[Panel]:
    start, background = base(graph, setting), plain_background(graph)
    tokens = with_own_background(graph, setting, start, background)
    given = [("", image) for image in (start.drawing["IMAGE"], start.references[0]["IMAGE"], background)]
    return [*given, ("", finished(graph, setting, start, tokens))]


def layers(graph: Graph, setting: Setting) -> list[Panel]:
    start = base(graph, setting)
    image = colored(graph, setting, start)
    lines = graph.add("ColorizeDiffusion_LineLayer", image=image, **page_of(start))
    flats = flats_of(graph, setting, start)
    return [("", image), ("", lines["image"]), ("", lines["color"]), ("", flats["image"])]


def words(graph: Graph, setting: Setting) -> list[Panel]:
    """Where a text is in the reference, and the hair in three colors."""
    start = base(graph, setting)
    panels = [("", heatmap(graph, start, setting.control))]
    for target in ("pink hair", "green hair", "black hair"):
        text = local_text_of(graph, setting, start, target=target)
        panels.append(("", finished(graph, setting, start, text["tokens"])))
    return panels

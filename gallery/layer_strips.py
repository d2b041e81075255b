"""What the help pages show of lines, flats, palettes and layers, made with the demo's files."""

from .graph import Graph, Node, Output
from .parts import Base, base
from .settings import Setting
from .strips import Panel, as_image, colored

HEX = "#f2d06b #2f5bd0 #8ecbf5 #ffffff #f6dcc8 #1c8a3a"


def page_of(start: Base) -> dict[str, Output]:
    return {"sketch": start.drawing["IMAGE"], "mask": start.drawing["MASK"]}


def line_layer(graph: Graph, setting: Setting) -> list[Panel]:
    start = base(graph, setting)
    given = {"image": colored(graph, setting, start)} | page_of(start)
    plain = graph.add("ColorizeDiffusion_LineLayer", **given)
    brown = graph.add("ColorizeDiffusion_LineLayer", **given, line_color="#8a3b12", line_opacity=0.7)
    return [
        ("VAE Decode", given["image"]),
        ("image", plain["image"]),
        ("color", plain["color"]),
        ("#8a3b12, 0.7", brown["image"]),
    ]


def flats_of(graph: Graph, setting: Setting, start: Base, **inputs) -> Node:
    image = colored(graph, setting, start)
    return graph.add("ColorizeDiffusion_FlatColors", image=image, **page_of(start), **inputs)


def flat_colors(graph: Graph, setting: Setting) -> list[Panel]:
    start = base(graph, setting)
    panels = [("VAE Decode", colored(graph, setting, start))]
    for detail in (0.0, 0.5, 1.0):
        panels.append((f"detail {detail:g}", flats_of(graph, setting, start, detail=detail)["flats"]))
    return panels


def palette(graph: Graph, setting: Setting) -> list[Panel]:
    start = base(graph, setting)
    image = start.references[0]["IMAGE"]
    found = graph.add("ColorizeDiffusion_Palette", image=image, colors=3)
    exact = graph.add("ColorizeDiffusion_Palette", hex=HEX)
    flats = flats_of(graph, setting, start, palette=exact["palette"])
    return [
        ("image", image),
        ("Flat Colors", flats["image"]),
        ("colors 3", found["image"]),
        ("hex", exact["image"]),
    ]


def save_layers(graph: Graph, setting: Setting) -> list[Panel]:
    start = base(graph, setting)
    image = colored(graph, setting, start)
    lines = graph.add("ColorizeDiffusion_LineLayer", image=image, **page_of(start))
    flats = flats_of(graph, setting, start)
    ink = graph.add("ImageInvert", image=as_image(graph, lines["lines"]))
    return [
        ("Lines", ink["IMAGE"]),
        ("Flats", flats["flats"]),
        ("Color", lines["color"]),
        ("Reference", start.references[0]["IMAGE"]),
    ]

"""The template that goes on where coloring ends: lines, flats and a file of layers."""

from .graph import Graph
from .parts import arrange, base, colorize, pictures_of, prepared
from .settings import Setting


def from_line_art_to_layers(graph: Graph, setting: Setting) -> None:
    start = base(graph, setting)
    (loaded,), (tokens,) = start.references, start.tokens
    sampler = colorize(graph, setting, start, tokens["tokens"])
    decoded = graph.add("VAEDecode", samples=sampler["latent"], vae=start.checkpoint["vae"])
    page = {"sketch": start.drawing["IMAGE"], "mask": start.drawing["MASK"]}
    lines = graph.add("ColorizeDiffusion_LineLayer", image=decoded["IMAGE"], **page)
    flats = graph.add("ColorizeDiffusion_FlatColors", image=decoded["IMAGE"], **page)
    palette = graph.add("ColorizeDiffusion_Palette", image=loaded["IMAGE"], mask=loaded["MASK"])
    swatches = graph.add("PreviewImage", images=palette["image"])
    file = graph.add(
        "ColorizeDiffusion_SaveLayers",
        color=lines["color"],
        flats=flats["flats"],
        lines=lines["lines"],
        reference=loaded["IMAGE"],
        split_flats=True,
        **page,
    )
    note = graph.note(
        "**From line art to layers**\n\n1. Choose your drawing, at its full size, and a picture with its colors.\n"
        "2. Run: a .psd with lines, flats, color and reference, and a .png with this workflow.\n\n**Exact colors**: "
        "write those you want into Palette's **hex** and connect it to Flat Colors. Areas run together: raise **gap**.",
        220,
    )
    arrange(
        graph,
        [start.clip, *pictures_of(start)],
        [start.checkpoint, *prepared(start, tokens)],
        [sampler, palette],
        [decoded, lines, flats, note],
        [file, swatches],
    )

"""Templates that keep figure and background apart."""

from .graph import Graph
from .parts import arrange, base, colorize, finish, mask, picture, pictures_of, prepared
from .settings import Setting


def figure_and_background(graph: Graph, setting: Setting) -> None:
    start = base(graph, setting, version="v1.5" if "v1.5" in setting.models else "v1")
    (loaded,), (tokens,) = start.references, start.tokens
    drawn, seen = mask(graph, setting, "Mask of the drawing's figure"), mask(graph, setting, "Mask of the reference's")
    figure = graph.add(
        "ColorizeDiffusion_FigureAndBackground",
        tokens=tokens["tokens"],
        clip_vision=start.clip["clip_vision"],
        reference=loaded["IMAGE"],
        sketch_mask=drawn["MASK"],
        reference_mask=seen["MASK"],
    )
    sampler = colorize(graph, setting, start, figure["tokens"])
    note = graph.note(
        "**Figure and background apart**\n\nThe drawing's figure takes its colors from the reference, the rest from "
        "the reference's background. White in both masks is the figure. Instead of drawn masks: **Load Background "
        "Removal Model** and **Remove Background**, one for each picture. A picture of its own for the background: "
        "connect **background**.",
        230,
    )
    arrange(
        graph,
        [start.clip, *pictures_of(start)],
        [start.checkpoint, *prepared(start, tokens)],
        [drawn, seen],
        [figure, note],
        [sampler],
        finish(graph, start, sampler["latent"], "figure"),
    )


def style_and_background(graph: Graph, setting: Setting) -> None:
    start = base(graph, setting, version="v2")
    (loaded,), (tokens,) = start.references, start.tokens
    drawn, background = mask(graph, setting, "Mask of the drawing's figure"), picture(graph, setting, "Background")
    figure = graph.add(
        "ColorizeDiffusion_FigureAndBackground",
        tokens=tokens["tokens"],
        clip_vision=start.clip["clip_vision"],
        reference=loaded["IMAGE"],
        style_enhance=True,
        sketch_mask=drawn["MASK"],
        background=background["IMAGE"],
        vae=start.checkpoint["vae"],
        latent=start.prepare["latent"],
    )
    sampler = colorize(graph, setting, start, figure["tokens"])
    note = graph.note(
        "**Style and background, with v2**\n\nThe figure is colored and painted as the reference is, the background "
        "comes from a picture of its own. White in the mask is the figure. Style alone: switch **background_enhance** "
        "off, then no mask and no background are needed. v2 was trained at 768 pixels.",
        210,
    )
    arrange(
        graph,
        [start.clip, *pictures_of(start)],
        [start.checkpoint, *prepared(start, tokens)],
        [drawn, background],
        [figure, note],
        [sampler],
        finish(graph, start, sampler["latent"], "style"),
    )

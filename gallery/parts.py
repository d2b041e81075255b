"""The parts that templates are put together of."""

from collections.abc import Sequence
from dataclasses import dataclass

from .graph import Graph, Node, Output
from .settings import Setting

COLUMN = 250
PICTURE_COLUMN = 290  # Load Image's button has more to say in other languages
MOST_COLUMNS = 6  # which fit a small screen only if all are narrow


@dataclass(frozen=True)
class Base:
    """What a template that colors has: the models, the drawing, the sketch that is made of it, and the references.

    `references` are pictures, `tokens` what is made of them.
    """

    checkpoint: Node
    clip: Node
    drawing: Node
    references: list[Node]
    prepare: Node
    sketch: Node
    tokens: list[Node]


def base(
    graph: Graph,
    setting: Setting,
    references: Sequence[str] = ("Reference",),
    version: str = "v1",
    drawing: str = "Drawing",
    wide: int = 1,
) -> Base:
    """`references` and `drawing` are the titles of the pictures, `wide` is the result's width over its height."""
    model, side = setting.models[version], setting.side[version]
    checkpoint = graph.add("ColorizeDiffusion_LoadCheckpoint", models=[model], ckpt_name=model["name"])
    clip_file = setting.other_clips.get(version, setting.clip)
    clip = graph.add("ColorizeDiffusion_LoadCLIP", models=[clip_file], clip_name=clip_file["name"])
    loaded = picture(graph, setting, drawing)
    pictures = [picture(graph, setting, title) for title in references]
    prepared = graph.add(
        "ColorizeDiffusion_PrepareSketch",
        image=loaded["IMAGE"],
        mask=loaded["MASK"],
        width=wide * side,
        height=side,
    )
    sketch = graph.add("ColorizeDiffusion_EncodeSketch", sketch_image=prepared["sketch_image"])
    tokens = [encoded(graph, clip, loaded) for loaded in pictures]
    return Base(checkpoint, clip, loaded, pictures, prepared, sketch, tokens)


def picture(graph: Graph, setting: Setting, title: str) -> Node:
    return graph.add("LoadImage", title=title, image=setting.pictures.get(title, ""))


def mask(graph: Graph, setting: Setting, title: str) -> Node:
    """A mask from a file: white is inside."""
    return graph.add("LoadImageMask", title=title, image=setting.pictures.get(title, ""), channel="red")


def encoded(graph: Graph, clip: Node, loaded: Node) -> Node:
    """The tokens of a picture."""
    return graph.add(
        "ColorizeDiffusion_EncodeReference",
        clip_vision=clip["clip_vision"],
        image=loaded["IMAGE"],
        mask=loaded["MASK"],
    )


def colorize(graph: Graph, setting: Setting, start: Base, tokens: Output, **inputs) -> Node:
    given = {
        "model": start.checkpoint["model"],
        "tokens": tokens,
        "sketch": start.sketch["sketch"],
        "latent": start.prepare["latent"],
        "reference_guidance": setting.reference_guidance,
    }
    return graph.add("ColorizeDiffusion_Sampler", **given | inputs)


def finish(graph: Graph, start: Base, latent: Output, prefix: str = "colorized") -> list[Node]:
    """The latent decoded, cropped to the drawing, saved."""
    decoded = graph.add("VAEDecode", samples=latent, vae=start.checkpoint["vae"])
    cropped = graph.add("ColorizeDiffusion_CropToSketch", image=decoded["IMAGE"], sketch=start.drawing["IMAGE"])
    return [decoded, cropped, graph.add("SaveImage", images=cropped["image"], filename_prefix=prefix)]


def pictures_of(start: Base) -> list[Node]:
    """The first column: no wire runs behind pictures there."""
    return [start.drawing, *start.references]


def prepared(start: Base, tokens: Node) -> list[Node]:
    """The second column, but for a loader on top of it."""
    return [start.prepare, start.sketch, tokens]


def arrange(graph: Graph, *columns: list[Node]) -> None:
    has_pictures = [any(node.info["name"] == "LoadImage" for node in column) for column in columns]
    wide = PICTURE_COLUMN if len(columns) < MOST_COLUMNS else COLUMN
    graph.arrange(columns, [wide if one else COLUMN for one in has_pictures])

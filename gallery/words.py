"""Templates that change a reference with words, or find words in it."""

from .graph import Graph, Node
from .parts import Base, arrange, base, colorize, encoded, finish, picture, pictures_of, prepared
from .settings import Setting

FIVE = (2.0, 4.0, 6.0, 8.0, 10.0)


def change_a_color(graph: Graph, setting: Setting) -> None:
    start = base(graph, setting)
    start.checkpoint.inputs["token_type"] = "cls"
    (tokens,) = start.tokens
    text = graph.add(
        "ColorizeDiffusion_GlobalText",
        tokens=tokens["tokens"],
        clip=start.clip["clip"],
        target=setting.target,
        anchor=setting.anchor,
    )
    sampler = colorize(graph, setting, start, text["tokens"])
    note = graph.note(
        "**Changes the whole reference with words**\n\n**anchor** is what it shows, **target** what it should show. "
        "Too little: raise **scale**. It acts on the CLS token, so **token_type** of the loader is cls. The published "
        "files were trained on the others: colors come out less exact. If they matter, take Change a region.",
        220,
    )
    arrange(
        graph,
        pictures_of(start),
        [start.clip, *prepared(start, tokens)],
        [start.checkpoint, text, note],
        [sampler],
        finish(graph, start, sampler["latent"], "words"),
    )


def change_a_region(graph: Graph, setting: Setting) -> None:
    start = base(graph, setting)
    (tokens,) = start.tokens
    text = graph.add("ColorizeDiffusion_LocalText", **local_text(setting, start, tokens), scale=8.0)
    sampler = colorize(graph, setting, start, text["tokens"])
    note = graph.note(
        "**Changes a part of the reference with words**\n\n**control** finds the part, **anchor** is what it shows, "
        "**target** what it should show. The map on the node shows what is changed: yellow in full, teal not at all.",
        170,
    )
    arrange(
        graph,
        [start.clip, *pictures_of(start)],
        [start.checkpoint, *prepared(start, tokens)],
        [text, note],
        [sampler],
        finish(graph, start, sampler["latent"], "region"),
    )


def local_text(setting: Setting, start: Base, tokens: Node) -> dict:
    return {
        "tokens": tokens["tokens"],
        "clip": start.clip["clip"],
        "target": setting.target,
        "anchor": setting.anchor,
        "control": setting.control,
        "enhance": True,
        "threshold_mode": "auto",
    }


def five_strengths(graph: Graph, setting: Setting) -> None:
    start = base(graph, setting)
    (tokens,) = start.tokens
    texts, samplers, pictures = [], [], []
    for scale in FIVE:
        text = graph.add(
            "ColorizeDiffusion_LocalText", title=f"Scale {scale:g}", **local_text(setting, start, tokens), scale=scale
        )
        sampler = colorize(graph, setting, start, text["tokens"])
        sampler.title = f"Colorize at {scale:g}"
        pictures.append(graph.add("VAEDecode", samples=sampler["latent"], vae=start.checkpoint["vae"]))
        texts.append(text)
        samplers.append(sampler)
    for node in (*texts, *samplers):
        node.collapsed = True
    joined = graph.add("BatchImagesNode", images=[one["IMAGE"] for one in pictures])
    saved = graph.add("SaveImage", images=joined["IMAGE"], filename_prefix="five-strengths")
    note = graph.note(
        "**One edit in five strengths**\n\nThe reference is encoded once; click on a node's title to open it. The seed "
        "is the same in all five, so nothing but the scale differs.",
        120,
    )
    arrange(
        graph,
        [start.clip, *pictures_of(start)],
        [start.checkpoint, *prepared(start, tokens)],
        texts + samplers,
        [*pictures, note],
        [joined, saved],
    )


def find_a_region(graph: Graph, setting: Setting) -> None:
    clip = graph.add("ColorizeDiffusion_LoadCLIP", models=[setting.clip], clip_name=setting.clip["name"])
    loaded = picture(graph, setting, "Reference")
    tokens = encoded(graph, clip, loaded)
    heatmap = graph.add(
        "ColorizeDiffusion_TextHeatmap",
        tokens=tokens["tokens"],
        clip=clip["clip"],
        image=loaded["IMAGE"],
        text=setting.control,
    )
    shown = graph.add("PreviewImage", images=heatmap["image"])
    note = graph.note(
        "**Where in the reference is it?**\n\nYellow is most like the text, violet least, a color for each threshold "
        "passed. Use it to find a control text and thresholds for Local Text Manipulation. Nothing is colored: no "
        "checkpoint is needed.",
        170,
    )
    arrange(graph, [clip, note], [loaded], [tokens, heatmap], [shown])

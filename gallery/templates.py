"""The templates: what each shows, in which nodes. `python3 dev.py gallery` writes them into workflows/.

Nodes stand in columns, from what is loaded on the left to what is saved on the right; a template fits a screen of
1366x768, which the browser shows at a zoom of 0.6 or more where it is no larger than 1750x900.
"""

from collections.abc import Callable
from dataclasses import dataclass

from .figures import figure_and_background, style_and_background
from .graph import Graph, Node
from .layers import from_line_art_to_layers
from .parts import Base, arrange, base, colorize, finish, mask, picture, pictures_of, prepared
from .settings import Setting
from .words import change_a_color, change_a_region, find_a_region, five_strengths

STRENGTH = "reference_guidance"


def colorize_line_art(graph: Graph, setting: Setting) -> None:
    line_art_to_picture(graph, setting)


def as_an_app(graph: Graph, setting: Setting) -> None:
    start, sampler, saved = line_art_to_picture(graph, setting)
    (loaded,) = start.references
    form = (start.drawing, "image", "Drawing"), (loaded, "image", "Reference"), (sampler, STRENGTH, "Strength")
    graph.show_as_app(form, [saved])


def line_art_to_picture(graph: Graph, setting: Setting) -> tuple[Base, Node, Node]:
    """What is loaded and prepared, the sampler, and what saves the picture."""
    start = base(graph, setting)
    (tokens,) = start.tokens
    sampler = colorize(graph, setting, start, tokens["tokens"])
    note = graph.note(
        "**Colors a drawing after another picture**\n\n1. Choose your drawing, and a picture whose colors you like.\n"
        "2. Set width and height near the drawing's shape.\n3. Run.\n\nColors too pale: raise **reference_guidance**. "
        "Lines not followed: raise the sketch's **strength**.",
        220,
    )
    end = finish(graph, start, sampler["latent"])
    second = [start.clip, *prepared(start, tokens)]
    arrange(graph, pictures_of(start), second, [start.checkpoint, note], [sampler], end)
    return start, sampler, end[-1]


def ksampler_and_lora(graph: Graph, setting: Setting) -> None:
    start = base(graph, setting)
    (tokens,) = start.tokens
    lora = graph.add("LoraLoaderModelOnly", model=start.checkpoint["model"], lora_name="", strength_model=0.8)
    conditioning = graph.add("ColorizeDiffusion_Conditioning", tokens=tokens["tokens"], sketch=start.sketch["sketch"])
    sampler = graph.add(
        "KSampler",
        model=lora["MODEL"],
        positive=conditioning["positive"],
        negative=conditioning["no_reference"],
        latent_image=start.prepare["latent"],
        cfg=setting.reference_guidance,
        sampler_name="dpmpp_2m",
        scheduler="karras",
    )
    note = graph.note(
        "**With ComfyUI's own sampler, and a LoRA**\n\nAny LoRA made for Stable Diffusion 2.1 or for this model. "
        "Bypass it with Ctrl+B to do without. **cfg** is the reference guidance; the negative is **no_reference**.\n\n"
        "One that makes few steps enough (LCM, TCD): **strength_model** 1, **steps** 4 to 8, **cfg** 1 to 1.5, "
        "**sampler_name** lcm, **scheduler** sgm_uniform.",
        240,
    )
    arrange(
        graph,
        pictures_of(start),
        [start.clip, *prepared(start, tokens)],
        [start.checkpoint, lora, conditioning, note],
        [sampler],
        finish(graph, start, sampler["LATENT"]),
    )


def hires_fix(graph: Graph, setting: Setting) -> None:
    start = base(graph, setting)
    (tokens,) = start.tokens
    first = colorize(graph, setting, start, tokens["tokens"])
    larger = graph.add("LatentUpscaleBy", samples=first["latent"], upscale_method="bicubic", scale_by=1.5)
    second = colorize(graph, setting, start, tokens["tokens"], latent=larger["LATENT"], denoise=0.5)
    note = graph.note(
        "**More pixels**\n\nColored at the size that the model was trained at, then enlarged and half colored anew. "
        "The sketch is resized with it. **denoise** of the second: lower keeps more of the first.",
        150,
    )
    arrange(
        graph,
        pictures_of(start),
        [start.clip, *prepared(start, tokens)],
        [start.checkpoint, first],
        [larger, second],
        [*finish(graph, start, second["latent"], "hires"), note],
    )


def keep_what_is_colored(graph: Graph, setting: Setting) -> None:
    start = base(graph, setting)
    (tokens,) = start.tokens
    colored = picture(graph, setting, "Colored picture")
    latent = graph.add("VAEEncode", pixels=colored["IMAGE"], vae=start.checkpoint["vae"])
    masked = graph.add("SetLatentNoiseMask", samples=latent["LATENT"], mask=colored["MASK"])
    sampler = colorize(graph, setting, start, tokens["tokens"], latent=masked["LATENT"])
    note = graph.note(
        "**Only a part anew**\n\nLoad the colored picture, at the size that Prepare Sketch makes. Right-click on it, "
        "*Open in MaskEditor*, paint what is to be colored anew. Everything else stays.",
        140,
    )
    arrange(
        graph,
        [start.clip, *pictures_of(start)],
        [start.prepare, start.sketch, tokens, colored],
        [start.checkpoint, latent, masked, note],
        [sampler],
        finish(graph, start, sampler["latent"], "part"),
    )


def many_drawings(graph: Graph, setting: Setting) -> None:
    start = base(graph, setting)
    second = picture(graph, setting, "Second drawing")
    both = graph.add("BatchImagesNode", images=[start.drawing["IMAGE"], second["IMAGE"]])
    start.prepare.inputs["image"] = both["IMAGE"]
    del start.prepare.inputs["mask"]
    (loaded,), (tokens,) = start.references, start.tokens
    sampler = colorize(graph, setting, start, tokens["tokens"])
    decoded = graph.add("VAEDecode", samples=sampler["latent"], vae=start.checkpoint["vae"])
    saved = graph.add("SaveImage", images=decoded["IMAGE"], filename_prefix="drawings")
    note = graph.note(
        "**Many drawings, one reference**\n\n**batch_size** 0 makes as many pictures as there are drawings. Chain more "
        "Batch Images, or take Load Image (from Folder). For a whole folder, file by file, see docs/batch.md.",
        150,
    )
    arrange(
        graph,
        [start.drawing, second],
        [both, start.prepare, start.sketch, loaded],
        [start.checkpoint, start.clip, tokens],
        [sampler],
        [decoded, saved, note],
    )


def reference_injection(graph: Graph, setting: Setting) -> None:
    start = base(graph, setting)
    (loaded,), (tokens,) = start.references, start.tokens
    injected = graph.add(
        "ColorizeDiffusion_ReferenceInjection",
        model=start.checkpoint["model"],
        vae=start.checkpoint["vae"],
        image=loaded["IMAGE"],
        mask=loaded["MASK"],
    )
    sampler = colorize(graph, setting, start, tokens["tokens"], model=injected["model"])
    note = graph.note(
        "**Closer to the reference**\n\nThe model looks at the picture itself at every step, beside its tokens: closer "
        "to its colors and textures, at about twice the time. **start_percent** saves some of it.",
        150,
    )
    arrange(
        graph,
        pictures_of(start),
        [start.clip, *prepared(start, tokens)],
        [start.checkpoint, injected, note],
        [sampler],
        finish(graph, start, sampler["latent"], "injection"),
    )


def two_characters(graph: Graph, setting: Setting) -> None:
    references = "Reference of the left one", "Reference of the right one"
    start = base(graph, setting, references, drawing="Drawing of both", wide=2)
    (left, right), (left_tokens, right_tokens) = start.references, start.tokens
    where = mask(graph, setting, "Mask of the right one")
    region = graph.add(
        "ColorizeDiffusion_RegionReference",
        tokens=left_tokens["tokens"],
        region_tokens=right_tokens["tokens"],
        mask=where["MASK"],
    )
    sampler = colorize(graph, setting, start, region["tokens"])
    note = graph.note(
        "**A reference for each character**\n\nThe left reference colors everything, the right one what the mask "
        "covers (white). A rough mask does: paint one on the drawing in the mask editor and connect its **MASK**, or "
        "let Remove Background make it. More characters: chain more Region Reference.",
        200,
    )
    arrange(
        graph,
        [start.clip, start.drawing, left],
        [start.prepare, start.sketch, left_tokens, right],
        [start.checkpoint, right_tokens, where],
        [region, sampler],
        [*finish(graph, start, sampler["latent"], "two-characters"), note],
    )


def colorize_with_xl(graph: Graph, setting: Setting) -> None:
    start = base(graph, setting, version="XL")
    (tokens,) = start.tokens
    tagger = graph.add("ColorizeDiffusion_LoadTagger", tagger_name="")
    tokens.inputs["tagger"] = tagger["tagger"]
    sampler = colorize(graph, setting, start, tokens["tokens"])
    note = graph.note(
        "**Colors at 1024 pixels, with ColorizeDiffusion XL**\n\nThree files to choose: a checkpoint (**sdxl-** or "
        "**xlv2-**), OpenCLIP **ViT-bigG-14**, and the tagger: a file of its own, or the checkpoint if it brings it. "
        "LoRA, ControlNet and VAE of SDXL fit.",
        190,
    )
    arrange(
        graph,
        pictures_of(start),
        [start.clip, tagger, *prepared(start, tokens)],
        [start.checkpoint, note],
        [sampler],
        finish(graph, start, sampler["latent"], "xl"),
    )


@dataclass(frozen=True)
class Template:
    """`name` is the file's, and so title, search text and, having no spaces, link.

    One that ends in .app opens as a form. `version` is what it needs; `takes_lora` says that it is for a LoRA of the
    user's.
    """

    name: str
    build: Callable[[Graph, Setting], None]
    version: str = "v1"
    takes_lora: bool = False


TEMPLATES = (
    Template("Colorize-lineart-anime-manga", colorize_line_art),
    Template("Colorize-lineart.app", as_an_app),
    Template("Colorize-with-KSampler-and-LoRA", ksampler_and_lora, takes_lora=True),
    Template("From-line-art-to-layers", from_line_art_to_layers),
    Template("Hires-fix", hires_fix),
    Template("Keep-what-is-colored-inpaint", keep_what_is_colored),
    Template("Many-drawings-one-reference", many_drawings),
    Template("Change-a-color-with-words", change_a_color),
    Template("Change-a-region-with-words", change_a_region),
    Template("A-text-edit-in-five-strengths", five_strengths),
    Template("Find-a-region-heatmap", find_a_region),
    Template("Reference-Injection", reference_injection),
    Template("Two-characters-two-references", two_characters),
    Template("Figure-and-background", figure_and_background),
    Template("Style-and-background-with-v2", style_and_background, version="v2"),
    Template("Colorize-at-1024-with-XL", colorize_with_xl, version="XL"),
)

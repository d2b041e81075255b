"""Pictures of what the templates make, with the demo's files: thumbnails beside the templates, and the README's.

A thumbnail is the result, with the drawing and the reference in its lower corners.
"""

from collections.abc import Mapping
from pathlib import Path

from PIL import Image, ImageOps

from colorize_batch.client import Server
from colorize_batch.workflow import Prompt, prompt_of_saved

from .settings import DEMO
from .templates import TEMPLATES
from .writing import saved_template, templates_of

SIDE, INSET, EDGE = 512, 144, 4
STAND_IN = TEMPLATES[0]  # shows what runs on a version or a LoRA that the demo has not
DRAWING_NODES = ("Drawing", "Drawing of both")


def square(image: Image.Image, side: int) -> Image.Image:
    return ImageOps.fit(image.convert("RGB"), (side, side), Image.Resampling.LANCZOS)


def thumbnail(result: Image.Image, insets: list[Image.Image]) -> Image.Image:
    """A square result with smaller pictures along its lower edge, the first one on the left."""
    size, centering = (SIDE, SIDE), (0.5, 0)
    picture = ImageOps.pad(result.convert("RGB"), size, Image.Resampling.LANCZOS, color="white", centering=centering)
    for number, inset in enumerate(insets):
        framed = ImageOps.expand(square(inset, INSET), EDGE, "white")
        left = 12 if number == 0 else SIDE - framed.width - 12
        picture.paste(framed, (left, SIDE - framed.height - 12))
    return picture


def images_of(server: Server, base: Path, prompt: Prompt) -> list[Image.Image]:
    """What a prompt saves, in the order of its nodes; what it previews, if it saves nothing."""
    outputs = server.run(prompt)
    found = [
        image for _, output in sorted(outputs.items(), key=lambda item: int(item[0])) for image in output["images"]
    ]
    kind = "output" if any(one["type"] == "output" for one in found) else "temp"
    return [Image.open(base / kind / one["subfolder"] / one["filename"]) for one in found if one["type"] == kind]


def insets_of(prompt: Prompt, folder: Path) -> list[Image.Image]:
    """The drawing and the first reference of a prompt."""
    loaded = {
        node["_meta"]["title"]: node["inputs"]["image"] for node in prompt.values() if node["class_type"] == "LoadImage"
    }
    drawings = [name for title, name in loaded.items() if title in DRAWING_NODES]
    references = [name for title, name in loaded.items() if title.startswith("Reference")]
    return [Image.open(folder / name) for name in (*drawings[:1], *references[:1])]


def make_thumbnails(server: Server, base: Path, object_info: Mapping, demo: Path, folder: Path) -> None:
    """`folder`/NAME.jpg for each template."""
    made: dict[str, Image.Image] = {}
    for template in templates_of(DEMO):
        prompt = prompt_of_saved(saved_template(template, object_info, DEMO), object_info)
        images = images_of(server, base, prompt)
        made[template.name] = thumbnail(joined(images), insets_of(prompt, demo))
    for template in TEMPLATES:
        picture = made.get(template.name, made[STAND_IN.name])
        picture.save(folder / f"{template.name}.jpg", quality=88)


def make_demo_picture(server: Server, base: Path, prompt: Prompt, path: Path) -> None:
    """What `python3 dev.py demo` shows, as a JPEG of at most 1600 pixels."""
    picture = images_of(server, base, prompt)[-1].convert("RGB")
    picture.thumbnail((1600, 1600), Image.Resampling.LANCZOS)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=90)


def joined(images: list[Image.Image]) -> Image.Image:
    """One picture, or up to four of many in a square."""
    if len(images) == 1:
        return images[0]
    tiles = [square(image, SIDE // 2) for image in images[:4]]
    sheet = Image.new("RGB", (SIDE, SIDE), "white")
    for number, tile in enumerate(tiles):
        sheet.paste(tile, (SIDE // 2 * (number % 2), SIDE // 2 * (number // 2)))
    return sheet

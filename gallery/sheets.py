"""Puts panels side by side: pictures of the help pages, in web/docs/pictures, and of the README, in docs/pictures."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from colorize_batch.client import Server
from colorize_batch.workflow import prompt_of_saved

from . import features, layer_strips, strips
from .graph import Graph
from .settings import DEMO, Setting
from .strips import Panel
from .writing import pack_version

PANEL, GAP, LABEL = 288, 8, 24  # pixels: width of a panel, between panels, height of a label
GROUND, INK = "#ffffff", "#333333"  # of a sheet, and of its labels


@dataclass(frozen=True)
class Sheet:
    """A picture of several panels; `name` is its file's. `columns` 2 suits the narrow help panel."""

    name: str
    panels: Callable[[Graph, Setting], list[Panel]]
    columns: int = 2


COLORIZE = strips.settings_of_colorize
HELP_SHEETS = (
    Sheet("LoadCheckpoint", strips.checkpoint),
    Sheet("LoadCLIP", strips.clip),
    Sheet("PrepareSketch", strips.prepare_sketch),
    Sheet("PrepareSketch-size", strips.sketch_size),
    Sheet("EncodeSketch", strips.encode_sketch),
    Sheet("CropToSketch", strips.crop_to_sketch),
    Sheet("EncodeReference", strips.encode_reference),
    Sheet("ReferenceInjection", strips.reference_injection),
    Sheet("RegionReference", strips.region_reference),
    Sheet("FigureAndBackground", strips.figure_and_background),
    Sheet("GlobalText", strips.global_text),
    Sheet("LocalText", strips.local_text_scales),
    Sheet("LocalText-control", strips.local_text_controls),
    Sheet("TextHeatmap", strips.text_heatmap),
    Sheet("Conditioning", strips.conditioning),
    Sheet("ReferenceStrength", strips.patched("ReferenceStrength", [("strength", n) for n in (0.0, 0.5, 1.0, 2.0)])),
    Sheet("Guider", strips.guider),
    Sheet("Sampler", COLORIZE("reference_guidance", (1.0, 2.5, 6.0, 15.0))),
    Sheet("Sampler-steps", COLORIZE("steps", (2, 5, 20, 50))),
    Sheet("Sampler-seed", COLORIZE("seed", (0, 1, 2, 3))),
    Sheet("BlockCache", strips.patched("BlockCache", [("interval", n) for n in (1, 2, 3, 5)])),
    Sheet("LineLayer", layer_strips.line_layer),
    Sheet("FlatColors", layer_strips.flat_colors),
    Sheet("Palette", layer_strips.palette),
    Sheet("SaveLayers", layer_strips.save_layers),
)
README_SHEETS = (
    Sheet("several-characters", features.several_characters, columns=4),
    Sheet("own-background", features.own_background, columns=4),
    Sheet("layers", features.layers, columns=4),
    Sheet("words", features.words, columns=4),
)


def make_sheets(server: Server, base: Path, object_info: dict, sheets: tuple[Sheet, ...], folder: Path) -> None:
    """`folder`/NAME.webp for each sheet."""
    folder.mkdir(parents=True, exist_ok=True)
    for sheet in sheets:
        labels, images = panels_of(server, base, object_info, sheet)
        laid_out(labels, images, sheet.columns).save(folder / f"{sheet.name}.webp", quality=82, method=6)


def panels_of(server: Server, base: Path, object_info: dict, sheet: Sheet) -> tuple[list[str], list[Image.Image]]:
    """The labels and pictures of a sheet's panels."""
    graph = Graph(object_info, pack_version())
    panels = sheet.panels(graph, DEMO)
    previews = [graph.add("PreviewImage", images=image) for _, image in panels]
    outputs = server.run(prompt_of_saved(graph.saved(), object_info))
    files = [outputs[str(preview.id)]["images"][0] for preview in previews]
    images = [Image.open(base / "temp" / file["subfolder"] / file["filename"]).convert("RGB") for file in files]
    return [label for label, _ in panels], images


def laid_out(labels: list[str], images: list[Image.Image], columns: int) -> Image.Image:
    """The pictures in rows from left to right, each under its label. A row is as wide as `columns` square panels, and
    its pictures are equally high: none is cut, none has margins."""
    label_height = LABEL if any(labels) else 0
    rows = [range(start, min(start + columns, len(images))) for start in range(0, len(images), columns)]
    heights = [row_height([images[number] for number in row]) for row in rows]
    size = columns * (PANEL + GAP) - GAP, sum(heights) + len(rows) * (label_height + GAP) - GAP
    sheet, top = Image.new("RGB", size, GROUND), 0
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for row, height in zip(rows, heights, strict=True):
        left = 0
        for number in row:
            width = round(height * images[number].width / images[number].height)
            sheet.paste(images[number].resize((width, height), Image.Resampling.LANCZOS), (left, top + label_height))
            draw.text((left + width // 2, top + LABEL // 2), labels[number], INK, font, anchor="mm")
            left += width + GAP
        top += label_height + height + GAP
    return sheet


def row_height(images: list[Image.Image]) -> int:
    """How high pictures side by side are that fill the width of as many square panels."""
    return round(len(images) * PANEL / sum(image.width / image.height for image in images))

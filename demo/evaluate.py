"""How well the demo model does on unseen figures, by the same code that the nodes run."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from colorize_core.host.clip import encode_reference, encode_text, load_clip
from colorize_core.host.colorize import colorize
from colorize_core.host.load import load_checkpoint
from colorize_core.manipulation import local_edit
from colorize_core.sketch import Sketch
from colorize_core.tokens import ReferenceTokens
from colorize_core.training.metrics import LEAST_PIXELS, line_fidelity, region_color_error

from .clip import REGION_OF_NOUN
from .data import DrawnPictures, as_sketch, draw_pairs
from .figures import COLORS, REGIONS

UNSEEN_PAIRS, UNSEEN_SEED = 256, 3  # half show a skirt or trousers twice: a hit rate of these is known to 0.03
FEWER_PAIRS = 64  # the first of them, for what is far from what it is compared with
MEASURED_SIZES = (128, 256)
SAMPLING_STEPS, GUIDANCE = 20, 2.5
SAMPLING_BATCH = 8
EDITED_NOUNS = ("hair", "shirt")
SHEET_ROWS = 12


@dataclass(frozen=True)
class Demo:
    """The host's MODEL, VAE, CLIP_VISION and CLIP of the files in demo/."""

    model: Any
    vae: Any
    clip_vision: Any
    clip: Any


def load_demo(files: Path) -> Demo:
    model, vae = load_checkpoint(str(files / "colorize-demo.safetensors"))
    return Demo(model, vae, *load_clip(str(files / "clip-demo.safetensors")))


def demo_tokens(demo: Demo, color: np.ndarray) -> ReferenceTokens:
    return encode_reference(demo.clip_vision, torch.from_numpy(color) / 255)


def colorize_drawings(
    demo: Demo, tokens: ReferenceTokens, sketch: np.ndarray, guidance: float = GUIDANCE
) -> np.ndarray:
    """Drawings [B,H,W] uint8, black on white, to pictures [B,H,W,3] uint8."""
    height, width = sketch.shape[1] // 8, sketch.shape[2] // 8
    chunks = np.array_split(np.arange(len(sketch)), -(-len(sketch) // SAMPLING_BATCH))
    parts = []
    for chunk in chunks:
        part = ReferenceTokens(tokens.cls[chunk], tokens.local[chunk])
        drawing = Sketch(as_sketch(sketch[chunk]), strength=1.0)
        latent = {"samples": torch.zeros(len(chunk), 4, height, width)}
        settings = {"steps": SAMPLING_STEPS, "reference_guidance": guidance}
        parts.append(demo.vae.decode(colorize(demo.model, part, drawing, latent, **settings)["samples"]))
    return uint8(torch.cat(parts))


def uint8(image: torch.Tensor) -> np.ndarray:
    return (image * 255).round().clamp(0, 255).byte().cpu().numpy()


def nearest_name(rgb: np.ndarray, region: str) -> str:
    return min(COLORS[region], key=lambda name: float(np.square(rgb - COLORS[region][name]).sum()))


def region_color(image: np.ndarray, regions: np.ndarray, region: str) -> np.ndarray | None:
    """The median color of a region; None where there is too little of it."""
    inside = regions == REGIONS[region]
    return np.median(image[inside], axis=0) if inside.sum() >= LEAST_PIXELS else None


def hits(color: np.ndarray, pictures: DrawnPictures, palette_of: np.ndarray) -> dict[str, float]:
    """Per region, the share of pictures `color` [N,S,S,3] where it has the color's name that it has in picture
    `palette_of` [N].

    Only regions count that this picture shows and whose color can be told in the drawn picture itself: thick lines
    leave nothing but ink of small eyes.
    """
    scores = {region: [] for region in REGIONS}
    words = (pictures.words[i] for i in palette_of)
    for image, drawn, regions, named in zip(color, pictures.color, pictures.regions, words, strict=True):
        for noun, name in named.items():
            region = REGION_OF_NOUN[noun]
            found, true = (region_color(picture, regions, region) for picture in (image, drawn))
            if true is not None and nearest_name(true, region) == name:
                scores[region].append(nearest_name(found, region) == name)
    return {region: float(np.mean(score)) for region, score in scores.items()}


def measure_colors(demo: Demo, size: int, output: Path) -> None:
    """Prints a table of `hits`, color error and line fidelity, and saves a sheet: sketch, reference, result, truth.

    The pictures through the autoencoder alone are the ceiling; results without a reference the floor: of the first
    `FEWER_PAIRS`.
    """
    pictures, fewer = draw_pairs(UNSEEN_PAIRS, UNSEEN_SEED, size), draw_pairs(FEWER_PAIRS, UNSEEN_SEED, size)
    own = np.arange(2 * UNSEEN_PAIRS)
    partner = own ^ 1
    guided = colorize_drawings(demo, demo_tokens(demo, pictures.color[partner]), pictures.sketch)
    through_vae = uint8(demo.vae.decode(demo.vae.encode(torch.from_numpy(fewer.color) / 255)))
    tokens = demo_tokens(demo, fewer.color)
    nothing = replace(tokens, cls=torch.zeros_like(tokens.cls), local=torch.zeros_like(tokens.local))
    floor = colorize_drawings(demo, nothing, fewer.sketch, 1.0)
    rows = {
        f"guidance {GUIDANCE:g}": (guided, pictures, partner),
        "autoencoder alone": (through_vae, fewer, own[: len(fewer)]),
        "no reference": (floor, fewer, partner[: len(fewer)]),
    }
    print(" | ".join([f"{size} pixels, color hits", *REGIONS, "color error", "line fidelity", "pictures"]))  # noqa: T201
    for name, (color, drawn, seen) in rows.items():
        row = [f"{score:.2f}" for score in hits(color, drawn, seen).values()]
        row += [
            f"{figures_color_error(color, drawn, seen):.1f}/255",
            f"{figures_line_fidelity(color, drawn):.2f}",
            str(len(drawn)),
        ]
        print(" | ".join([name, *row]))  # noqa: T201
    sketches = np.repeat(pictures.sketch[..., None], 3, axis=-1)
    save_sheet((sketches, pictures.color[partner], guided, pictures.color), output / f"demo-sheet-{size}.png")


def figures_color_error(color: np.ndarray, pictures: DrawnPictures, seen: np.ndarray) -> float:
    """How far the regions' colors are from those of pictures `seen` [N], over the regions that both show."""
    regions = np.where(np.isin(pictures.regions, list(REGIONS.values())), pictures.regions.astype(np.int16), -1)
    regions = torch.from_numpy(regions)
    errors = region_color_error(unit(color), unit(pictures.color[seen]), regions, regions[seen])
    return errors.nanmean().item()


def figures_line_fidelity(color: np.ndarray, pictures: DrawnPictures) -> float:
    return line_fidelity(unit(color), 1 - torch.from_numpy(pictures.sketch) / 255).mean().item()


def unit(color: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(color).permute(0, 3, 1, 2) / 255


def measure_edits(demo: Demo, size: int, output: Path) -> None:
    """Prints what an edit of one region with words does to the result, and saves a sheet for each noun.

    Anchor and enhance, published thresholds: "red hair" becomes a random other color of hair. A hit is a region that
    comes to have the target's name; drift is how far the colors move of the other regions that the reference shows.
    """
    pictures = draw_pairs(FEWER_PAIRS, UNSEEN_SEED, size)
    for noun in EDITED_NOUNS:
        rng = np.random.default_rng(UNSEEN_SEED)
        sketched = np.array(
            [i for i in range(0, len(pictures), 2) if noun in pictures.words[i] and noun in pictures.words[i + 1]]
        )
        colors = [pictures.words[i][noun] for i in sketched]
        targets = [str(rng.choice([c for c in COLORS[REGION_OF_NOUN[noun]] if c != color])) for color in colors]
        before = demo_tokens(demo, pictures.color[sketched + 1])
        after = edited_tokens(demo, before, noun, colors, targets)
        sketch, regions = pictures.sketch[sketched], pictures.regions[sketched]
        plain, changed = (colorize_drawings(demo, tokens, sketch) for tokens in (before, after))

        hit, drift = [], []
        visible = [[REGION_OF_NOUN[word] for word in pictures.words[i + 1]] for i in sketched]
        pairs = zip(plain, changed, strict=True)
        for images, region_map, target, seen in zip(pairs, regions, targets, visible, strict=True):
            for region in seen:
                was, now = (region_color(image, region_map, region) for image in images)
                if was is None:
                    continue
                if region == REGION_OF_NOUN[noun]:
                    hit.append(nearest_name(now, region) == target)
                else:
                    drift.append(np.abs(now - was).mean())
        print(f"{size} pixels, {noun} edits: {sum(hit)} of {len(hit)} hit, others drift {np.mean(drift):.1f}/255")  # noqa: T201
        sketches = np.repeat(sketch[..., None], 3, axis=-1)
        save_sheet((sketches, pictures.color[sketched + 1], plain, changed), output / f"edit-{noun}-sheet-{size}.png")


def edited_tokens(
    demo: Demo, tokens: ReferenceTokens, noun: str, anchors: list[str], targets: list[str]
) -> ReferenceTokens:
    """The tokens of each reference with `noun` turned from its anchor color into its target color."""
    control = encode_text(demo.clip, [noun])[0]
    rows = []
    for i, texts in enumerate(zip(anchors, targets, strict=True)):
        anchor, target = encode_text(demo.clip, [f"{color} {noun}" for color in texts])
        cls, local = tokens.cls[i : i + 1], tokens.local[i : i + 1]
        rows.append(local_edit(cls, local, target, anchor, control, enhance=True).local)
    return replace(tokens, local=torch.cat(rows))


def save_sheet(columns: tuple[np.ndarray, ...], path: Path) -> None:
    """Rows of pictures, in two halves side by side."""
    count = min(len(columns[0]) // 2, SHEET_ROWS)
    strips = [np.concatenate([column[i] for column in columns], axis=1) for i in range(2 * count)]
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.concatenate([np.concatenate(strips[i::2], axis=0) for i in range(2)], axis=1)).save(path)

"""How well the demo model does: colours of regions on unseen figures, by the same code that the nodes run."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ...canvas import Sketch
from ...host.clip import encode_reference, load_clip
from ...host.conditions import build_conditioning
from ...host.guider import build_guider, sample
from ...host.load import load_checkpoint
from .clip import REGION_OF_NOUN
from .data import Pictures, draw
from .figures import COLORS, REGIONS

PAIRS, SEED, SIZE = 24, 3, 128
STEPS, GUIDANCE = 20, 3.0
BATCH = 8
LEAST_PIXELS = 40  # the colour of a smaller region is mostly that of its outline
SHEET_ROWS = 12


def nearest_name(rgb: np.ndarray, region: str) -> str:
    return min(COLORS[region], key=lambda name: float(np.square(rgb - COLORS[region][name]).sum()))


def hits(color: np.ndarray, pictures: Pictures, palette_of: np.ndarray) -> dict[str, float]:
    """Per region, the share of pictures `color` [N,S,S,3] where its median colour has the name that it has in
    picture `palette_of` [N]; only regions that this picture shows count."""
    scores = {region: [] for region in REGIONS}
    for image, regions, words in zip(color, pictures.regions, (pictures.words[i] for i in palette_of), strict=True):
        for noun, name in words.items():
            region = REGION_OF_NOUN[noun]
            inside = regions == REGIONS[region]
            if inside.sum() >= LEAST_PIXELS:
                scores[region].append(nearest_name(np.median(image[inside], axis=0), region) == name)
    return {region: float(np.mean(score)) for region, score in scores.items()}


def uint8(image: torch.Tensor) -> np.ndarray:
    return (image * 255).round().clamp(0, 255).byte().cpu().numpy()


def measure(files: Path, output: Path) -> None:
    """Prints a table of `hits` and saves a sheet of sketch, reference, result and truth to `output`.

    The pictures through the autoencoder alone are the ceiling; the same results judged by another pair's palette the
    floor.
    """
    model, vae = load_checkpoint(str(files / "colorize-demo.safetensors"))
    clip_vision, _ = load_clip(str(files / "clip-demo.safetensors"))
    pictures = draw(PAIRS, SEED, SIZE)
    own = np.arange(2 * PAIRS)
    partner, stranger = own ^ 1, np.roll(own, 2)

    def colorize(chunk: np.ndarray, guidance: float) -> np.ndarray:
        tokens = encode_reference(clip_vision, torch.from_numpy(pictures.color[partner[chunk]]) / 255)
        drawing = torch.from_numpy(pictures.sketch[chunk])[:, None].expand(-1, 3, -1, -1)
        conditioning = build_conditioning(tokens, Sketch(1 - drawing / 127.5, strength=1.0))
        guider = build_guider(model, *conditioning, guidance, 1.0)
        latent = {"samples": torch.zeros(len(chunk), 4, SIZE // 8, SIZE // 8)}
        result = sample(guider, latent, 0, STEPS, "dpmpp_2m", "karras", 1.0)
        return uint8(vae.decode(result["samples"]))

    def colored(guidance: float) -> np.ndarray:
        return np.concatenate([colorize(chunk, guidance) for chunk in np.split(own, len(own) // BATCH)])

    with torch.inference_mode():
        through_vae = uint8(vae.decode(vae.encode(torch.from_numpy(pictures.color) / 255)))
        guided, plain = colored(GUIDANCE), colored(1.0)
    rows = {
        "autoencoder alone": hits(through_vae, pictures, own),
        f"guidance {GUIDANCE:g}": hits(guided, pictures, partner),
        "guidance 1": hits(plain, pictures, partner),
        "another palette": hits(guided, pictures, stranger),
    }
    lines = [" | ".join(["named-colour hits", *REGIONS])]
    lines += [" | ".join([name, *(f"{score:.2f}" for score in row.values())]) for name, row in rows.items()]
    print("\n".join(lines))  # noqa: T201

    sketches = np.repeat(pictures.sketch[..., None], 3, axis=-1)
    columns = (sketches, pictures.color[partner], guided, pictures.color)
    strips = [np.concatenate([column[i] for column in columns], axis=1) for i in range(SHEET_ROWS * 2)]
    halves = [np.concatenate(strips[i::2], axis=0) for i in range(2)]
    output.mkdir(exist_ok=True)
    Image.fromarray(np.concatenate(halves, axis=1)).save(output / "demo-sheet.png")

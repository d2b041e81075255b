"""Measures a denoiser on the unseen figures, colored by the host as the nodes do it."""

import functools
from pathlib import Path

import numpy as np
import torch
from torch import nn

from colorize_core.checkpoint.keys import to_published_keys
from colorize_core.host.colorize import colorize
from colorize_core.host.load import build_patcher, load_checkpoint
from colorize_core.sketch import Sketch
from colorize_core.tokens import ReferenceTokens
from colorize_core.training.metrics import line_fidelity, region_color_error
from colorize_core.training.strategies import Strategy
from demo.colorizer import DEMO_CONFIG
from demo.data import as_sketch, images
from demo.figures import REGIONS
from demo.vae import SCALE, prescribed_latent

from . import measures
from .data import SIZE, placed_tokens
from .training import FromHints, hints_of, strategy_loss
from .unseen import TEST_SEED, TESTS, Unseen, as_patches, known_regions, palette_colors

LOSS_DRAWS = 8  # of the losses on unseen pictures, for each of them
STEPS, GUIDANCES = 10, (1.0, 3.0)
SHEET_ROWS = 6  # pictures


@torch.no_grad()
def measure_denoiser(unet: nn.Module, tests: Unseen, clip: Path, vae_file: Path) -> tuple[dict, np.ndarray]:
    """All measures of a denoiser as {measure: number}, those of sampling by guidance, and for the sheets the pictures
    [G,R,S,S,3] that it draws after mismatched references at each guidance."""
    weights = to_published_keys(unet.state_dict(), DEMO_CONFIG.version.parts)
    model = build_patcher(DEMO_CONFIG, weights, "the trained model")
    references = np.stack([figure.color for figure in tests.references])
    matching, mismatching = (placed_tokens(clip, color) for color in (tests.matching, references))
    sketch = np.stack([figure.sketch for figure in tests.small])
    lines = 1 - torch.from_numpy(sketch) / 255
    regions = torch.from_numpy(np.stack([figure.regions for figure in tests.small]))
    truth = measures.patch_colors(prescribed_latent(images(np.stack([figure.color for figure in tests.small]))))
    labels = measures.patch_regions(regions, known_regions(tests.references))
    layouts = [as_patches(figures) for figures in (tests.references, tests.strangers)]

    found, drawings = unseen_losses(unet, tests, matching), []
    for guidance in GUIDANCES:
        after_own, after_other = (colorize_figures(model, t, sketch, guidance) for t in (matching, mismatching))
        own, other = measures.patch_colors(after_own), measures.patch_colors(after_other)
        pictures = decode(vae_file, after_other)
        correct = measures.region_correctness(other, truth, labels, palette_colors(tests.palettes))
        leak, chance = (measures.layout_share(other, truth, layout) for layout in layouts)
        found[f"guidance {guidance:g}"] = {
            "matching: color error": patch_color_error(own, truth, regions),
            "color error": patch_color_error(other, truth, labels.repeat_interleave(8, 1).repeat_interleave(8, 2)),
            "line fidelity": line_fidelity(pictures.movedim(-1, 1), lines).mean().item(),
            "region correctness": float(np.mean(list(correct.values()))),
            "correctness by region": {name: correct[index] for name, index in REGIONS.items() if index in correct},
            "nearer to the reference's layout": leak,
            "nearer to a stranger's layout": chance,
            "leak": leak - chance,
        }
        drawings.append(pictures[:SHEET_ROWS].mul(255).round().byte().numpy())
    return found, np.stack(drawings)


@torch.no_grad()
def unseen_losses(unet: nn.Module, tests: Unseen, matching: ReferenceTokens) -> dict[str, float]:
    """The plain loss on the unseen pictures, with fixed draws: without a reference, and with the matching one."""
    latent = prescribed_latent(images(np.stack([figure.color for figure in tests.small])))
    hints = hints_of(unet, as_sketch(np.stack([figure.sketch for figure in tests.small])))
    model = FromHints(unet)

    def mean_loss(strategy: Strategy) -> float:
        batch = {"latent": latent, "sketch": hints, "tokens": matching.local}
        seeds = [(TEST_SEED << 32) + k * TESTS + torch.arange(TESTS) for k in range(LOSS_DRAWS)]
        return float(np.mean([strategy_loss(model, batch | {"seeds": row}, strategy).item() for row in seeds]))

    return {
        "loss without reference": mean_loss(Strategy(drop_rate=1.0)),
        "loss with matching reference": mean_loss(Strategy()),
    }


def colorize_figures(model, tokens: ReferenceTokens, sketch: np.ndarray, guidance: float) -> torch.Tensor:
    """Prescribed latents [B,4,h,w] for drawings [B,8h,8w] uint8, black on white, sampled by the host."""
    parts = []
    for seed, chunk in enumerate(torch.arange(len(sketch)).split(16)):
        drawing = Sketch(as_sketch(sketch[chunk]), strength=1.0)
        part = ReferenceTokens(tokens.cls[chunk], tokens.local[chunk])
        empty = {"samples": torch.zeros(len(chunk), 4, SIZE // 8, SIZE // 8)}
        parts.append(colorize(model, part, drawing, empty, seed, STEPS, guidance)["samples"])
    return torch.cat(parts) * SCALE


@functools.cache
def load_autoencoder(file: Path):
    return load_checkpoint(str(file))[1]


def decode(file: Path, latent: torch.Tensor) -> torch.Tensor:
    """Prescribed latents as pictures [B,H,W,3] in 0..1, by the VAE in `file`."""
    return load_autoencoder(file).decode(latent / SCALE).float().clamp(0, 1)


def patch_color_error(result: torch.Tensor, truth: torch.Tensor, regions: torch.Tensor) -> float:
    """`region_color_error` of patch colors, each patch as large as in the picture that has these `regions`."""
    pixels = (
        (x / 255).movedim(-1, 1).repeat_interleave(8, -1).repeat_interleave(8, -2).contiguous() for x in (result, truth)
    )
    return region_color_error(*pixels, regions).nanmean().item()

"""What a training does on pictures that are held out, after references that match and after those of others."""

from contextlib import suppress
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from einops import rearrange

from ..host.colorize import colorize
from ..host.trainable import Colorizer
from ..sketch import LATENT_DOWNSCALE, Sketch
from .data import PictureFolder
from .deformation import Deformation
from .diffusion import cumulative_alphas
from .encoders import Encoders
from .experiment import Experiment
from .metrics import line_fidelity, palette_error
from .pictures import UnreadablePicture
from .strategies import Strategy, colorizer_loss, draw

AS_IT_IS = Deformation(warp=0, flip=0, rotation=0, crop=1)
ROWS_AT_ONCE = 4  # pictures at once
LOSS_DRAWS = 4  # timesteps and noises of each picture, always the same


@dataclass(frozen=True)
class Samples:
    """Pictures to color, in -1..1: `color` and `sketch` [B,3,S,S], white lines on black, `reference` [B,3,R,R], and
    `other`, the reference of another picture."""

    color: torch.Tensor
    sketch: torch.Tensor
    reference: torch.Tensor

    @property
    def other(self) -> torch.Tensor:
        return self.reference.roll(1, dims=0)

    def __len__(self) -> int:
        return len(self.color)


@dataclass(frozen=True)
class Colored:
    """The samples' results [B,3,S,S] in 0..1 after their own references, and after those of others."""

    matched: torch.Tensor
    mismatched: torch.Tensor


def choose_samples(experiment: Experiment, pictures: PictureFolder, held_out: PictureFolder | None) -> Samples | None:
    """Pictures that were held out, else of the training; two at least, so that each has another's reference too."""
    count = max(2, experiment.samples)
    if held_out is None:
        return choose(pictures, experiment, count) if experiment.samples else None
    return choose(held_out, experiment, max(count, experiment.validation.count))


def choose(pictures: PictureFolder, experiment: Experiment, count: int) -> Samples | None:
    """`count` pictures spread over all of them, square, at the largest resolution; their references as they are.

    Others stand in for those that cannot be read; None if none can.
    """
    settings = experiment.data
    side = max(settings.resolutions)
    stride = max(1, len(pictures) // count)
    chosen = []
    for i in (i for first in range(stride) for i in range(first, len(pictures), stride)):
        if len(chosen) == count:
            break
        with suppress(UnreadablePicture):  # the training's log names it
            size, reference_size = (side, side), settings.reference_size
            chosen.append(pictures.load(pictures.name(i), size, 0, settings.polarity, reference_size, AS_IT_IS))
    if not chosen:
        return None
    return Samples(*(torch.stack([row[key] for row in chosen]) for key in ("color", "sketch", "reference")))


@torch.no_grad()
def color_samples(model, encoders: Encoders, samples: Samples) -> Colored:
    """What the host's MODEL makes of the samples, as the nodes do by default."""
    return Colored(*(_color(model, encoders, samples.sketch, r) for r in (samples.reference, samples.other)))


def _color(model, encoders: Encoders, sketch: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    results = []
    for lines, pictures in zip(sketch.split(ROWS_AT_ONCE), reference.split(ROWS_AT_ONCE), strict=True):
        tokens = encoders.reference(pictures.add(1).div(2).movedim(1, -1))
        side = lines.shape[-1] // LATENT_DOWNSCALE
        empty = {"samples": torch.zeros(len(lines), 4, side, side)}
        latent = colorize(model, tokens, Sketch(lines), empty)["samples"]
        results.append(encoders.vae.decode(latent).movedim(-1, 1).float().cpu().clamp(0, 1))
    return torch.cat(results)


def sheet(samples: Samples, colored: Colored, rows: int) -> torch.Tensor:
    """[3,rows*S,5*S] in 0..1: sketch, own reference, result, the reference of another picture, result."""
    sketch, own, other = (x[:rows].add(1).div(2) for x in (samples.sketch, samples.reference, samples.other))
    own, other = (F.interpolate(x, sketch.shape[-2:], mode="bilinear", antialias=True) for x in (own, other))
    columns = [sketch, own, colored.matched[:rows], other, colored.mismatched[:rows]]
    return rearrange(columns, "column b c h w -> c (b h) (column w)")


@torch.no_grad()
def validation_numbers(
    accelerator: Accelerator,
    model: Colorizer,
    encoders: Encoders,
    samples: Samples,
    colored: Colored,
    prediction: str,
) -> dict[str, float]:
    """By name: losses, how far the results' colors are from their references' (255ths), and how well lines are kept."""
    lines = samples.sketch.add(1).div(2).mean(dim=1)
    found = {}
    references = {"matched": samples.reference, "mismatched": samples.other}
    for kind, reference in references.items():
        result = getattr(colored, kind)
        found[f"validation/loss_{kind}"] = _loss(accelerator, model, encoders, samples, reference, prediction)
        found[f"validation/color_error_{kind}"] = palette_error(result, reference.add(1).div(2)).mean().item()
        found[f"validation/line_fidelity_{kind}"] = line_fidelity(result, lines).mean().item()
    return found


def _loss(
    accelerator: Accelerator,
    model: Colorizer,
    encoders: Encoders,
    samples: Samples,
    reference: torch.Tensor,
    prediction: str,
) -> float:
    device, total = accelerator.device, 0.0
    alphas = cumulative_alphas().to(device)
    for rows in torch.arange(len(samples)).split(ROWS_AT_ONCE):
        part = {"color": samples.color[rows].to(device), "reference": reference[rows].to(device)}
        latent, tokens = encoders.encode(part)
        sketch = samples.sketch[rows].to(device)
        for number in range(LOSS_DRAWS):
            draws = draw((rows * LOSS_DRAWS + number).tolist(), latent.shape, tokens.shape, device)
            with accelerator.autocast():
                loss = colorizer_loss(model, latent, sketch, tokens, draws, Strategy(), prediction, alphas)
            total += len(rows) * loss.item() / LOSS_DRAWS
    return total / len(samples)

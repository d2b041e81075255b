"""Sample sheets: how a model that is being trained colors, by the code that the nodes run."""

from contextlib import suppress
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange

from ..host.clip import encode_reference
from ..host.colorize import colorize
from ..sketch import LATENT_DOWNSCALE, Sketch
from .data import DataSettings, PictureFolder
from .deformation import Deformation
from .encoders import Encoders
from .pictures import UnreadablePicture

AS_IT_IS = Deformation(warp=0, flip=0, rotation=0, crop=1)


@dataclass(frozen=True)
class Samples:
    """What a sheet colors: `sketch` [B,3,S,S], white lines on black, and `reference` [B,3,R,R], in -1..1."""

    sketch: torch.Tensor
    reference: torch.Tensor


def choose(pictures: PictureFolder, settings: DataSettings, count: int) -> Samples | None:
    """`count` pictures spread over all of them, square, at the largest resolution; their references as they are.

    Others stand in for those that cannot be read; None if none can.
    """
    side = max(settings.resolutions)
    stride = max(1, len(pictures) // count)
    chosen = []
    for name in (name for first in range(stride) for name in pictures.names[first::stride]):
        if len(chosen) == count:
            break
        with suppress(UnreadablePicture):  # the training's log names it
            size, reference_size = (side, side), settings.reference_size
            chosen.append(pictures.load(name, size, 0, settings.polarity, reference_size, AS_IT_IS))
    if not chosen:
        return None
    return Samples(*(torch.stack([row[key] for row in chosen]) for key in ("sketch", "reference")))


@torch.no_grad()
def colored(model, encoders: Encoders, samples: Samples) -> torch.Tensor:
    """A sheet [3,B*S,3*S] in 0..1 of what the host's MODEL makes of the samples: sketch, reference, result."""
    reference, sketch = (images.add(1).div(2) for images in (samples.reference, samples.sketch))
    tokens = encode_reference(encoders.clip_vision, reference.movedim(1, -1))
    side = sketch.shape[-1]
    latent = torch.zeros(len(sketch), 4, side // LATENT_DOWNSCALE, side // LATENT_DOWNSCALE)
    result = colorize(model, tokens, Sketch(samples.sketch), {"samples": latent})["samples"]
    columns = sketch, F.interpolate(reference, (side, side)), encoders.vae.decode(result).movedim(-1, 1).cpu()
    return rearrange(list(columns), "column b c h w -> c (b h) (column w)")

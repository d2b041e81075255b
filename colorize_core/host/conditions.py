"""What a colorizer is conditioned on, as the host's CONDITIONING and as the conditions of a sampling run."""

import comfy.conds
import comfy.utils
import torch

from ..sketch import Sketch
from ..tokens import ReferenceTokens

# Keys of a CONDITIONING, whose main tensor holds the local tokens [B,N,D].
CLS = "colorize_cls"  # [B,1,D]
SKETCH = "colorize_sketch"  # [B,3,H,W] in -1..1, white lines on black
SKETCH_STRENGTH = "colorize_sketch_strength"
START_PERCENT = "colorize_start_percent"  # the reference counts from here ...
END_PERCENT = "colorize_end_percent"  # ... to here, as parts of the whole run from noise to picture

BLANK = -1.0  # an empty sketch: black paper


class CONDHint(comfy.conds.CONDRegular):
    """A map [B,C,ceil(H/downscale),ceil(W/downscale)] that goes with a latent [B,4,H,W] and is cropped with it."""

    def __init__(self, cond: torch.Tensor, downscale: int):
        super().__init__(cond)
        self.downscale = downscale

    def _copy_with(self, cond):
        return self.__class__(cond, self.downscale)

    def process_cond(self, batch_size, area, **kwargs):
        """`area` is (height, width, top, left) in latent pixels, or None for all of it."""
        cropped = self.cond
        if area is not None:
            height, width, top, left = area
            cropped = cropped.narrow(2, top // self.downscale, -(-height // self.downscale))
            cropped = cropped.narrow(3, left // self.downscale, -(-width // self.downscale))
        return self._copy_with(comfy.utils.repeat_to_batch_size(cropped, batch_size))


def build_conditioning(
    tokens: ReferenceTokens, sketch: Sketch, start_percent: float = 0.0, end_percent: float = 1.0
) -> tuple[list, list, list]:
    """CONDITIONING with everything, without the reference (zero tokens), and without the sketch (blank paper).

    Outside start_percent .. end_percent of the run, 0..1, the tokens count as zero. ValueError if the two are reversed.
    Nodes that mix the main tensors of conditionings (ConditioningAverage, ConditioningConcat) know nothing of CLS: a
    model that takes CLS tokens gets those of the first conditioning alone.
    """
    if start_percent > end_percent:
        raise ValueError(f"start_percent ({start_percent}) lies after end_percent ({end_percent}): swap them.")
    values = {
        CLS: tokens.cls,
        SKETCH: sketch.pixels,
        SKETCH_STRENGTH: sketch.strength,
        START_PERCENT: start_percent,
        END_PERCENT: end_percent,
    }
    positive = [[tokens.local, values]]
    no_reference = [[torch.zeros_like(tokens.local), values | {CLS: torch.zeros_like(tokens.cls)}]]
    no_sketch = [[tokens.local, values | {SKETCH: torch.full_like(sketch.pixels, BLANK)}]]
    return positive, no_reference, no_sketch

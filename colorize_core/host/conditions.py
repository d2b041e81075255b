"""What a colorizer is conditioned on, as the host's CONDITIONING: its main tensor, and what each feature adds."""

from dataclasses import replace

import torch

from ..sketch import BLANK, Sketch
from ..tokens import ReferenceTokens
from .feature import Wish
from .features import FEATURES
from .reference import entries


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
    dropped = replace(tokens, cls=torch.zeros_like(tokens.cls), local=torch.zeros_like(tokens.local))
    blank = replace(sketch, pixels=torch.full_like(sketch.pixels, BLANK))
    wishes = (
        Wish(tokens, tokens, sketch, start_percent, end_percent),
        Wish(dropped, tokens, sketch, start_percent, end_percent),
        Wish(tokens, tokens, blank, start_percent, end_percent),
    )
    return tuple([[wish.tokens.local, conditioning_values(wish)]] for wish in wishes)


def conditioning_values(wish: Wish) -> dict:
    """The dict of a CONDITIONING, whose main tensor are the local tokens."""
    values = entries(wish.tokens)
    for feature in FEATURES:
        values |= feature.entries(wish)
    return values

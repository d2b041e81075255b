"""A conditioning feature: one thing that a picture is colored by, in one module.

Its doors, each optional: what it puts into a CONDITIONING (`entries`), what it makes of that for a sampling run
(`conds`), what of these reaches the UNet at a step (`keywords`), and what the UNet does with it (`options`). Model and
UNet go through all features in order; none of them is known to either by name.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ..sketch import Sketch
from ..tokens import ReferenceTokens


@dataclass(frozen=True)
class Wish:
    """What a CONDITIONING is made of: reference, sketch, and the part of the run, 0..1, in which the former counts.

    `encoded` is the reference even where `tokens` are zero, as they are for guidance.
    """

    tokens: ReferenceTokens
    encoded: ReferenceTokens
    sketch: Sketch
    start_percent: float = 0.0
    end_percent: float = 1.0


@dataclass(frozen=True)
class Step:
    """One call of the model: noise levels `sigma` [B], the host's schedule, and the run's transformer_options."""

    sigma: torch.Tensor
    model_sampling: Any
    transformer_options: dict


@dataclass(frozen=True)
class UNetPass:
    """One pass of the UNet on its way. Features take their own out of `keywords`, and may replace its `context`.

    `run(latent, transformer_options)` is a pass of its own over a latent [B,4,h,w], without a ControlNet.
    """

    unet: Any
    keywords: dict[str, torch.Tensor | None]
    run: Callable[[torch.Tensor, dict], torch.Tensor]


def no_entries(wish: Wish) -> dict[str, Any]:
    return {}


def no_conds(model, cond: dict) -> dict[str, Any]:
    return {}


def same_keywords(step: Step, keywords: dict) -> dict:
    return keywords


def same_options(unet_pass: UNetPass, options: dict) -> dict:
    return options


def no_shapes(cond: dict) -> dict[str, list[int]]:
    return {}


@dataclass(frozen=True)
class Feature:
    """The doors of a feature.

    `entries(wish)`: values of a CONDITIONING, plain tensors, numbers and lists of them, by keys of the pack's own.
    `conds(model, cond)`: the host's COND objects of a run, by keyword, from a CONDITIONING as a dict whose `cross_attn`
    is the context that the model takes. The same set whatever the conditioning says, where that costs nothing, so that
    conditionings share batches.
    `keywords(step, keywords)`: the keywords of a pass from those that conds gave.
    `options(unet_pass, options)`: the host's transformer_options of a pass; never changed in place.
    `shapes(cond)`: shapes of those conds, `memory_keywords`, that take memory as the latent does, by keyword.
    """

    entries: Callable[[Wish], dict[str, Any]] = no_entries
    conds: Callable[[Any, dict], dict[str, Any]] = no_conds
    keywords: Callable[[Step, dict], dict] = same_keywords
    options: Callable[[UNetPass, dict], dict] = same_options
    shapes: Callable[[dict], dict[str, list[int]]] = no_shapes
    memory_keywords: tuple[str, ...] = ()

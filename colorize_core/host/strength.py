"""Reference strength: a factor for what each cross-attention adds, before its output projection."""

from collections.abc import Sequence

import torch
from comfy.model_management import cast_to_device

from .feature import Feature, Step, UNetPass
from .options import with_patch

REFERENCE_STRENGTH = "colorize_reference_strength"  # in a model's transformer_options: a number for each block
KEYWORD = "reference_strength"


def with_reference_strength(model, strengths: Sequence[float]):
    """A clone of the MODEL `model` with a factor for each of its cross-attentions; an earlier one is replaced."""
    patched = model.clone()
    options = patched.model_options["transformer_options"]
    patched.model_options["transformer_options"] = options | {REFERENCE_STRENGTH: tuple(strengths)}
    return patched


def keywords(step: Step, keywords: dict) -> dict:
    if REFERENCE_STRENGTH not in step.transformer_options:
        return keywords
    strengths = torch.tensor(step.transformer_options[REFERENCE_STRENGTH])
    return keywords | {KEYWORD: cast_to_device(strengths, step.sigma.device, strengths.dtype)}  # does not wait for it


def options(unet_pass: UNetPass, options: dict) -> dict:
    strengths = unet_pass.keywords.pop(KEYWORD, None)
    return (
        options
        if strengths is None
        else with_patch(options, "attn2_patch", scale_reference(strengths, unet_pass.unet.first_blocks))
    )


FEATURE = Feature(keywords=keywords, options=options)


def scale_reference(strengths: torch.Tensor, first_blocks: Sequence[int]):
    """An `attn2_patch` that scales the value of cross-attention i by strengths[i].

    `first_blocks` are the numbers of the first in each of the UNet's transformers.

    The value's projection has no bias, so this scales the attention's result before its output projection.
    """

    def patch(query, context, value, extra_options):
        number = first_blocks[extra_options["transformer_index"]] + extra_options["block_index"]
        return query, context, value * strengths[number]

    return patch

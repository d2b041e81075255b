"""ColorizeDiffusion as a model of the host: its UNet, with the sketch encoder inside and the hints added."""

import torch
import torch.nn.functional as F
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

from ..sketch_encoder import HINT_BLOCKS, SketchEncoder

HINT_NAMES = tuple(f"hint_{k}" for k in range(len(HINT_BLOCKS)))


class ColorizeUNet(UNetModel):
    """The host's UNet with a sketch encoder (`control_encoder`) inside, so that both load, move and save together.

    The forward pass takes, beside the UNet's own arguments, the sketch encoder's maps as `hint_0` .. `hint_4`
    (all or none) and `reference_strength` [16], which scales the result of each cross-attention.
    """

    def __init__(self, *args, dtype=torch.float32, device=None, operations, **kwargs):
        super().__init__(*args, dtype=dtype, device=device, operations=operations, **kwargs)
        self.control_encoder = SketchEncoder(self.model_channels, self.channel_mult, dtype, device, operations)

    def _forward(
        self,
        x,
        timesteps=None,
        context=None,
        y=None,
        control=None,
        transformer_options={},  # noqa: B006 (the host's signature; never written to here)
        reference_strength=None,
        **kwargs,
    ):
        hints = [kwargs.pop(name, None) for name in HINT_NAMES]
        patches = dict(transformer_options.get("patches", {}))
        if hints[0] is not None:
            patches["input_block_patch"] = [add_hints(hints), *patches.get("input_block_patch", [])]
        if reference_strength is not None:
            patches["attn2_patch"] = [*patches.get("attn2_patch", []), scale_reference(reference_strength)]
        transformer_options = transformer_options | {"patches": patches}
        return super()._forward(x, timesteps, context, y, control, transformer_options, **kwargs)


def add_hints(hints):
    """An `input_block_patch` that adds each hint to its block's output, resized where another patch changed the size."""
    hint_of_block = dict(zip(HINT_BLOCKS, hints, strict=True))

    def patch(h, transformer_options):
        hint = hint_of_block.get(transformer_options["block"][1])
        if hint is None:
            return h
        if hint.shape[-2:] != h.shape[-2:]:
            hint = F.interpolate(hint, size=h.shape[-2:], mode="bilinear")
        return h + hint

    return patch


def scale_reference(strength):
    """An `attn2_patch` that scales the value of cross-attention i by strength[i].

    The value's projection has no bias, so this scales the attention's result before its output projection.
    """

    def patch(query, context, value, extra_options):
        return query, context, value * strength[extra_options["transformer_index"]]

    return patch

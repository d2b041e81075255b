"""The style of a reference, v2's: made once for a run, it scales and shifts the channels of each output block."""

import comfy.conds
import torch
from torch import nn

from .encoded import encode_once
from .feature import Feature, UNetPass
from .figure import ENCODED, figure_of
from .options import with_patch

STYLE = "style"  # keyword: the vectors of all output blocks [b, sum of their widths], deepest first


class StyleSlot(nn.Module):
    """The end of an output block, where its style acts; without one nothing happens."""

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        return h


def conds(model, cond: dict) -> dict:
    figure = figure_of(cond)
    if figure is None or not figure.style_enhance:
        return {}
    encoder, device = model.diffusion_model.style_encoder, cond["device"]
    encoded = [encode_once(model, encoder, figure.reference_latent, cond[ENCODED], figure.reference_size, device)]
    style = torch.cat(encoded[0].maps, dim=1)
    if figure.background_given:
        latent, tokens, size = figure.background_latent, figure.background_local, figure.background_size
        encoded.append(encode_once(model, encoder, latent, tokens, size, device))
        style = torch.lerp(style, torch.cat(encoded[1].maps, dim=1), figure.merging)
    out = comfy.conds.CONDRegular(style)
    out.encoded = encoded  # alive as long as the run
    return {STYLE: out}


def options(unet_pass: UNetPass, options: dict) -> dict:
    style = unet_pass.keywords.pop(STYLE, None)
    if style is None:
        return options
    modules = unet_pass.unet.style_modules
    styles = style.split([module.style_width for module in modules], dim=1)

    def modulate(slot, h, emb, context, transformer_options, *others):
        index = transformer_options["block"][1]
        return modules[index](h, emb, styles[index])

    return with_patch(options, "forward_timestep_embed_patch", (StyleSlot, modulate))


FEATURE = Feature(conds=conds, options=options)

"""The features of a background, v2's: made once for a run, and warped into the UNet's skips outside the figure."""

import comfy.conds
import torch

from .encoded import encode_once
from .feature import Feature, UNetPass
from .figure import ENCODED, IN_FIGURE, figure_of
from .options import with_patch

BACKGROUND_KEYWORDS = "background_features_"  # of keywords: the number of an output block follows; [b,M,width]


def conds(model, cond: dict) -> dict:
    figure = figure_of(cond)
    if figure is None or not figure.background_enhance:
        return {}
    if figure.background_latent is None:
        raise ValueError(
            f"vae: ColorizeDiffusion {model.config.version.name} reads the background at the size of the picture. "
            "Connect vae and Prepare Sketch's latent to Figure and Background."
        )
    own = figure.background_given and not figure.style_enhance
    tokens = figure.background_local if own else cond[ENCODED]
    encoder, device = model.diffusion_model.bg_encoder, cond["device"]
    encoded = encode_once(model, encoder, figure.background_latent, tokens, figure.background_size, device)
    factor = figure.background_factor
    out = {
        BACKGROUND_KEYWORDS + str(i): comfy.conds.CONDRegular(features * factor)
        for i, features in enumerate(encoded.maps)
    }
    out[BACKGROUND_KEYWORDS + "0"].encoded = encoded  # alive as long as the run
    return out


def options(unet_pass: UNetPass, options: dict) -> dict:
    names = [name for name in unet_pass.keywords if name.startswith(BACKGROUND_KEYWORDS)]
    if not names:
        return options
    features = {int(name.removeprefix(BACKGROUND_KEYWORDS)): unet_pass.keywords.pop(name) for name in names}
    warp_modules = unet_pass.unet.warp_modules

    def warp(h, skip, transformer_options):
        index = transformer_options["block"][1]
        is_kept = transformer_options[IN_FIGURE](skip.shape[-2:])
        return h, torch.where(is_kept, skip, warp_modules[index](skip, features[index]))

    return with_patch(options, "output_block_patch", warp, first=True)


FEATURE = Feature(conds=conds, options=options)

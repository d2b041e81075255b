"""The size of the picture as a vector that conditions the UNet (XL): area and score, in the place of SDXL's vector."""

import comfy.conds
import torch

from ..networks.embeddings import canvas_embedding, sinusoidal
from ..sketch import LATENT_DOWNSCALE
from .feature import Feature, Step

CANVAS = "canvas_embedding"  # [1,512]
VECTOR = "y"  # the host's name for what a UNet, or a ControlNet, is conditioned on beside context and time
POOLED_CHANNELS = 1280  # of SDXL's text, which takes the first channels of its vector


def conds(model, cond: dict) -> dict:
    """XL's vector, and SDXL's (a picture of this size, uncropped, no text) for ControlNets, which are SDXL's."""
    height, width = (side * LATENT_DOWNSCALE for side in cond["noise"].shape[2:])
    sizes = sinusoidal(torch.tensor([[height, width, 0, 0, height, width]])).flatten(1)
    vectors = {CANVAS: canvas_embedding(height, width), VECTOR: torch.cat([torch.zeros(1, POOLED_CHANNELS), sizes], 1)}
    return {name: comfy.conds.CONDRegular(vector.to(cond["device"])) for name, vector in vectors.items()}


def keywords(step: Step, keywords: dict) -> dict:
    """XL's vector in the place of SDXL's, which ControlNets have had by then."""
    others = {name: value for name, value in keywords.items() if name != CANVAS}
    return others | {VECTOR: keywords[CANVAS]}


FEATURE = Feature(conds=conds, keywords=keywords)

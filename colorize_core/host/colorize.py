"""The one way to color a sketch: model, tokens and sketch in, latent out."""

import comfy.samplers
from comfy_extras.nodes_custom_sampler import BasicScheduler, Noise_RandomNoise, SamplerCustomAdvanced

from ..sketch import Sketch
from ..tokens import ReferenceTokens
from .conditions import build_conditioning
from .guider import build_guider


def colorize(
    model,
    tokens: ReferenceTokens,
    sketch: Sketch,
    latent: dict,
    seed: int = 0,
    steps: int = 20,
    reference_guidance: float = 4.0,
    sketch_guidance: float = 1.0,
    sampler_name: str = "dpmpp_2m",
    scheduler: str = "karras",
    denoise: float = 1.0,
    start_percent: float = 0.0,
    end_percent: float = 1.0,
) -> dict:
    """The sampled LATENT, by the host's own nodes: random noise, basic scheduler, advanced sampler.

    The inputs are those of the node Colorize, and so are their defaults. ValueError as `build_conditioning` and
    `build_guider` raise it.
    """
    conditioning = build_conditioning(tokens, sketch, start_percent, end_percent)
    guider = build_guider(model, *conditioning, reference_guidance, sketch_guidance)
    sigmas = BasicScheduler.execute(guider.model_patcher, scheduler, steps, denoise).result[0]
    sampler = comfy.samplers.sampler_object(sampler_name)
    return SamplerCustomAdvanced.execute(Noise_RandomNoise(seed), guider, sampler, sigmas, latent).result[0]

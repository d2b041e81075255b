"""Sampling with two guidances, as a GUIDER of the host."""

from pathlib import Path

import comfy.samplers

from ..finite import is_finite
from ..guidance import effective_guidance
from .model import require_colorize


class ColorizeGuider(comfy.samplers.CFGGuider):
    """Ordinary guidance against a blend of two unconditionals, so that whatever hooks into guidance still does."""

    def set_conds(self, positive, no_reference, no_sketch):
        self.inner_set_conds({"positive": positive, "no_reference": no_reference, "no_sketch": no_sketch})

    def set_guidance(self, reference: float, sketch: float):
        self.cfg, self.reference_share = effective_guidance(reference, sketch)

    def predict_noise(self, x, timestep, model_options={}, seed=None):  # noqa: B006 (the host's signature)
        unconditional = [
            *weighted(self.conds["no_reference"], self.reference_share),
            *weighted(self.conds["no_sketch"], 1 - self.reference_share),
        ]
        return comfy.samplers.sampling_function(
            self.inner_model, x, timestep, unconditional, self.conds["positive"], self.cfg, model_options, seed
        )

    def sample(self, *args, **kwargs):
        """The sampled latent [B,4,h,w]. ValueError, naming the checkpoint, if it holds what no picture is made of."""
        samples = super().sample(*args, **kwargs)
        if not is_finite(samples):  # once per run: it waits for the device
            raise ValueError(
                f"model: what {file_name(self.model_patcher)} makes is NaN, infinite or far too large, so the file is "
                "damaged or its precision too low. Get it again, start ComfyUI with --fp32-unet, or lower guidance and "
                "strengths."
            )
        return samples


def file_name(patcher) -> str:
    """Name of the file that a MODEL was loaded from, as far as the host knows."""
    _, arguments = patcher.cached_patcher_init or (None, ("it",))
    return Path(str(arguments[0])).name


def weighted(conds, share):
    """Conditionings whose predictions the host averages with this share; none for a share of 0.

    The average is the blend of `effective_guidance` where both unconditionals count alike: one conditioning each, or
    as many, of the same strength and without a mask or area of their own. Where they do not, they shift the shares.
    """
    if share == 0:
        return []
    return [cond | {"strength": cond.get("strength", 1.0) * share} for cond in conds]


def build_guider(model, positive, no_reference, no_sketch, reference_guidance, sketch_guidance) -> ColorizeGuider:
    """ValueError for a model that is not ColorizeDiffusion's: any other would leave the sketch out without a word."""
    guider = ColorizeGuider(require_colorize(model))
    guider.set_conds(positive, no_reference, no_sketch)
    guider.set_guidance(reference_guidance, sketch_guidance)
    return guider

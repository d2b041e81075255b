"""What nodes put on a MODEL: a clone with other options, never the model itself."""

from collections.abc import Sequence

from comfy.patcher_extension import WrappersMP

from ..sketch import Sketch
from .injection import INJECTION, Injection, add_to_conditions, encode_picture
from .model import REFERENCE_STRENGTH, ColorizeModel


def require_colorize(model):
    """`model` itself. ValueError for one that is not ColorizeDiffusion's."""
    if not isinstance(model.model, ColorizeModel):
        raise ValueError("model: this is no ColorizeDiffusion model; connect Load ColorizeDiffusion Checkpoint.")
    return model


def with_reference_strength(model, strengths: Sequence[float]):
    """`model` with a factor for each of its 16 cross-attentions; an earlier one is replaced.

    ValueError for a model that is not ColorizeDiffusion's.
    """
    patched = require_colorize(model).clone()
    options = patched.model_options["transformer_options"]
    patched.model_options["transformer_options"] = options | {REFERENCE_STRENGTH: tuple(strengths)}
    return patched


def with_reference_injection(
    model,
    vae,
    image,
    sketch: Sketch | None,
    style_fidelity: float,
    sketch_fidelity: float,
    start_percent: float,
):
    """`model` that looks at the picture `image` [B,H,W,C] while it makes its own; an earlier injection is replaced.

    ValueError for a model that is not ColorizeDiffusion's, a VAE that is not its own or missing, an empty picture.
    """
    patched = require_colorize(model).clone()
    latent = encode_picture(vae, image, model.model.latent_format.latent_channels)
    injection = Injection(latent, sketch, style_fidelity, sketch_fidelity, start_percent)
    patched.remove_wrappers_with_key(WrappersMP.OUTER_SAMPLE, INJECTION)
    patched.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, INJECTION, add_to_conditions(injection))
    return patched

"""What nodes put on a MODEL: a clone with other options, never the model itself."""

from collections.abc import Sequence

from .model import REFERENCE_STRENGTH, ColorizeModel


def with_reference_strength(model, strengths: Sequence[float]):
    """`model` with a factor for each of its 16 cross-attentions; an earlier one is replaced.

    ValueError for a model that is not ColorizeDiffusion's.
    """
    if not isinstance(model.model, ColorizeModel):
        raise ValueError("model: this is no ColorizeDiffusion model; connect Load ColorizeDiffusion Checkpoint.")
    patched = model.clone()
    options = patched.model_options["transformer_options"]
    patched.model_options["transformer_options"] = options | {REFERENCE_STRENGTH: tuple(strengths)}
    return patched

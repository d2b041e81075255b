"""Which ColorizeDiffusion is this state dict? Its configuration, from keys and tensor shapes."""

UNET_PREFIX = "model.diffusion_model."
ENCODER_PREFIX = "control_encoder."


def to_published_keys(unet: dict) -> dict:
    """The denoiser's own state dict (sketch encoder inside, no prefix) under the keys of a published file."""
    return {key if key.startswith(ENCODER_PREFIX) else UNET_PREFIX + key: value for key, value in unet.items()}


def from_published_keys(checkpoint: dict) -> dict:
    """The denoiser's own state dict from that of a published file; what is not the denoiser's is left out.

    An encoder that lies inside the denoiser already (`model.diffusion_model.control_encoder.*`) is taken too.
    """
    unet = {key.removeprefix(UNET_PREFIX): value for key, value in checkpoint.items() if key.startswith(UNET_PREFIX)}
    return unet | {key: value for key, value in checkpoint.items() if key.startswith(ENCODER_PREFIX)}

"""A model's weights as the contents of a published file."""

import torch

from .config import Config
from .keys import StateDict, to_published_keys
from .metadata import head_channels_weight, own_metadata


def file_contents(
    config: Config, unet: StateDict, vae: StateDict, token_type: str | None = None
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Weights and metadata of a published file, from the denoiser's own state dict and a VAE in published keys.

    `token_type` is what the model was trained on, `attention` or `cls`; None is both.
    """
    weights = published_weights(config, unet) | dict(vae)
    if config.prediction == "v":
        weights["v_pred"] = torch.tensor([])  # by this key any loader of Stable Diffusion knows
    return weights, own_metadata(config.prediction, token_type, config.head_channels)


def published_weights(config: Config, unet: StateDict) -> dict[str, torch.Tensor]:
    """The denoiser's own state dict in published keys, with the widths of heads, which its shapes cannot tell."""
    return to_published_keys(unet, config.version.parts) | head_channels_weight(config.head_channels)

"""The host's own networks built for training: float32, initialised, with gradients."""

import comfy.ops
import torch
from comfy.ldm.models.autoencoder import AutoencoderKL
from torch import nn

from ..checkpoint import Config
from .model import ColorizeUNet, unet_arguments

INITIALISED = (nn.Linear, nn.Conv2d, nn.GroupNorm, nn.LayerNorm)


def initialise(module: nn.Module, zero: tuple[str, ...] = ()) -> nn.Module:
    """PyTorch's own initialisation (the host's layers skip it); layers whose name ends in one of `zero` start at 0."""
    for name, layer in module.named_modules():
        kind = next((kind for kind in INITIALISED if isinstance(layer, kind)), None)
        if kind is None:
            continue
        kind.reset_parameters(layer)
        if name.endswith(zero):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
    return module.requires_grad_(True).float()


def build_autoencoder(ddconfig: dict) -> AutoencoderKL:
    """The Stable Diffusion autoencoder in the shape of `ddconfig`: `encode` gives raw latents [B,4,H/8,W/8]."""
    with torch.device("cpu"):
        autoencoder = AutoencoderKL(ddconfig=ddconfig, embed_dim=ddconfig["z_channels"])
    return initialise(autoencoder)


def build_unet(config: Config) -> ColorizeUNet:
    """The denoiser with its sketch encoder; its residual branches and its output start at zero."""
    unet = ColorizeUNet(**unet_arguments(config), device="cpu", operations=comfy.ops.disable_weight_init)
    return initialise(unet, zero=("out_layers.3", "proj_out", "out.2"))

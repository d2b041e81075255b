"""The demo's autoencoder: Stable Diffusion's layout, one hundredth of its size.

With one channel per normalisation group a network this small loses colours for long; its first three latent channels
are therefore drawn to the mean colour of the patch they stand for, and the fourth and all deviations are its own.
Trained on whole pictures, since those groups see a crop's statistics otherwise.
"""

import numpy as np
import torch
import torch.nn.functional as F

from .data import Pictures, images

DDCONFIG = {
    "double_z": True, "z_channels": 4, "resolution": 128, "in_channels": 3, "out_ch": 3, "ch": 32,
    "ch_mult": [1, 1, 2, 2], "num_res_blocks": 1, "attn_resolutions": [], "dropout": 0.0,
}  # fmt: skip
SCALE = 0.18215  # what Stable Diffusion multiplies raw latents by to give them unit variance
PATCH = 8  # side of the picture / side of the latent
BATCH_PIXELS = 6 * 64 * 64
COLOR_MEAN, COLOR_DEVIATION = 0.16, 0.55  # of patches of the drawn figures, in -1..1
COLOR_WEIGHT = 0.3
LATENT_NOISE = 0.05


def batch(pictures: Pictures, rng: np.random.Generator) -> torch.Tensor:
    """Whole pictures [B,3,S,S] in [-1, 1], fewer where they are larger, mirrored half of the time."""
    side = pictures.color.shape[1]
    color = pictures.color[rng.integers(len(pictures), size=BATCH_PIXELS // side**2)]
    return images(color[:, :, ::-1] if rng.random() < 0.5 else color)


def edges(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x[..., 1:, :] - x[..., :-1, :], x[..., 1:] - x[..., :-1]


def reconstruction_loss(decoded: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Squared and absolute error, and the absolute error of the differences between neighbours (lines)."""
    lines = sum(F.l1_loss(a, b) for a, b in zip(edges(decoded), edges(target), strict=True))
    return 2 * F.mse_loss(decoded, target) + F.l1_loss(decoded, target) + 0.5 * lines


def latent_loss(latent: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Draws three channels of the scaled latent to the patches' colours and the fourth to mean 0, deviation 1."""
    color = (F.avg_pool2d(target, PATCH) - COLOR_MEAN) / COLOR_DEVIATION
    own = latent[:, 3]
    return COLOR_WEIGHT * F.mse_loss(latent[:, :3], color) + 0.02 * (own.mean().square() + (own.std() - 1).square())


def autoencoder_loss(autoencoder: torch.nn.Module, target: torch.Tensor) -> torch.Tensor:
    latent = autoencoder.encode(target) * SCALE
    decoded = autoencoder.decode((latent + LATENT_NOISE * torch.randn_like(latent)) / SCALE)
    return reconstruction_loss(decoded, target) + latent_loss(latent, target)


def decoder_loss(autoencoder: torch.nn.Module, target: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        latent = autoencoder.encode(target) * SCALE
    decoded = autoencoder.decode((latent + LATENT_NOISE * torch.randn_like(latent)) / SCALE)
    return reconstruction_loss(decoded, target)

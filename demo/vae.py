"""The demo's autoencoder: Stable Diffusion's layout, one hundredth of its size.

With hardly more channels than normalization groups, a network left to find a latent loses colors for long. Its latent
is therefore anchored to four prescribed numbers for a patch: brightness, two opponent colors, contrast. From there
encoder and decoder move it together, to where it says more of lines and of small colors.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from colorize_core.checkpoint.keys import VAE_PREFIX, vae_weights

from .data import DrawnPictures, area_weights, images
from .mixture import MixedPictures

DDCONFIG = {
    "double_z": True, "z_channels": 4, "resolution": 128, "in_channels": 3, "out_ch": 3, "ch": 64,
    "ch_mult": [1, 1, 1, 1], "num_res_blocks": 0, "attn_resolutions": [], "dropout": 0.0,
}  # fmt: skip
SCALE = 0.18215  # what Stable Diffusion multiplies raw latents by to give them unit variance
PATCH = 8  # side of the picture / side of the latent
BATCH_PIXELS = 2 * 128 * 128
PIXEL_AREA_POWER = 0.5  # of `area_weights`
LATENT_NOISE = 0.05
ANCHOR = 0.1  # what the prescribed latent weighs beside the picture
LINES = 1.0  # what differences of neighbors weigh beside values

# Mean and deviation over the drawn figures: brightness, red - green, yellow - blue, contrast.
LATENT_MEAN = (0.18, 0.12, 0.125, 0.2)
LATENT_DEVIATION = (0.47, 0.37, 0.43, 0.23)


def opponent(picture: torch.Tensor) -> torch.Tensor:
    """RGB [B,3,H,W] as brightness, red - green and yellow - blue [B,3,H,W]."""
    red, green, blue = picture.unbind(1)
    return torch.stack([(red + green + blue) / 3, red - green, (red + green) / 2 - blue], 1)


def prescribed_latent(picture: torch.Tensor) -> torch.Tensor:
    """The scaled latent [B,4,H/8,W/8] of a picture [B,3,H,W] in -1..1, each channel of mean 0 and deviation 1."""
    colors = opponent(picture)
    mean = F.avg_pool2d(colors, PATCH)
    brightness = colors[:, :1]
    variance = F.avg_pool2d(brightness.square(), PATCH) - mean[:, :1].square()
    latent = torch.cat([mean, variance.clamp(min=0).sqrt()], 1)
    center, deviation = (latent.new_tensor(v)[:, None, None] for v in (LATENT_MEAN, LATENT_DEVIATION))
    return (latent - center) / deviation


def file_weights(path: Path) -> dict[str, torch.Tensor]:
    """The autoencoder of a demo model's file."""
    weights = vae_weights(load_file(path))
    return {key.removeprefix(VAE_PREFIX): value.float() for key, value in weights.items()}


def autoencoder_batch(
    pictures: DrawnPictures | MixedPictures, rng: np.random.Generator, pixels: int = BATCH_PIXELS
) -> tuple[torch.Tensor, torch.Tensor]:
    """Whole pictures [B,3,S,S] in -1..1, fewer where they are larger, mirrored half of the time; and pixel weights.

    The weights [B,1,S,S] are those of `area_weights`.
    """
    side = pictures.color.shape[1]
    picks = rng.integers(len(pictures), size=max(1, pixels // side**2))
    color, regions = pictures.color[picks], pictures.regions[picks]
    if rng.random() < 0.5:
        color, regions = color[:, :, ::-1], regions[:, :, ::-1]
    return images(color), torch.from_numpy(area_weights(regions, PIXEL_AREA_POWER))[:, None]


def neighbor_differences(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x[..., 1:, :] - x[..., :-1, :], x[..., 1:] - x[..., :-1]


def reconstruction_loss(decoded: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Squared error of opponent colors, each in its own deviation, and absolute error of values and of lines."""
    deviation = decoded.new_tensor(LATENT_DEVIATION[:3])[:, None, None]
    colors = (weight * ((opponent(decoded) - opponent(target)) / deviation).square()).mean()
    values = (weight * (decoded - target).abs()).mean()
    lines = sum(
        F.l1_loss(a, b) for a, b in zip(neighbor_differences(decoded), neighbor_differences(target), strict=True)
    )
    return colors + values + LINES * lines


def autoencoder_loss(autoencoder: nn.Module, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Of what the decoder draws from what the encoder sees in pictures `target`, their pixels weighed by `weight`."""
    device = next(autoencoder.parameters()).device
    target, weight = target.to(device), weight.to(device)
    latent = autoencoder.encode(target) * SCALE
    drawn = autoencoder.decode((latent + LATENT_NOISE * torch.randn_like(latent)) / SCALE)
    return ANCHOR * F.mse_loss(latent, prescribed_latent(target)) + reconstruction_loss(drawn, target, weight)

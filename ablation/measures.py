"""What the ablation measures, on the mean colors of 8x8 patches: what the denoiser itself draws.

The first three numbers of a prescribed latent are a patch's color, so no autoencoder stands in between. Patch colors
are [B,h,w,3] in 0..255, region maps [B,8h,8w] integers, palettes [B,K,3] in 0..255.
"""

import torch
import torch.nn.functional as F

from demo import vae

APART = 40.0  # colors nearer than this (Euclidean, of 255) are not told apart
LEAST_SHARE = 0.6  # of a patch that a region must fill to be judged there


def patch_colors(latent: torch.Tensor) -> torch.Tensor:
    """The colors in prescribed latents [B,4,h,w]."""
    center, deviation = (latent.new_tensor(v[:3])[:, None, None] for v in (vae.LATENT_MEAN, vae.LATENT_DEVIATION))
    brightness, red_green, yellow_blue = (latent[:, :3] * deviation + center).unbind(1)
    blue = brightness - yellow_blue * 2 / 3
    yellow = yellow_blue + blue  # (red + green) / 2
    rgb = torch.stack([yellow + red_green / 2, yellow - red_green / 2, blue], -1)
    return rgb.add(1).mul(127.5).clamp(0, 255)


def patch_regions(regions: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """The region that fills each patch [B,h,w]; -1 where none does, or one that is not in `known` [B,R] (bool)."""
    shares = F.avg_pool2d(F.one_hot(regions.long()).movedim(-1, 1).float(), vae.PATCH)[:, : known.shape[1]]
    share, label = shares.max(1)
    judged = (share >= LEAST_SHARE) & known.gather(1, label.flatten(1)).view_as(label)
    return torch.where(judged, label, -1)


def region_correctness(
    result: torch.Tensor, truth: torch.Tensor, labels: torch.Tensor, palette: torch.Tensor
) -> dict[int, float]:
    """By region in `labels` [B,h,w], the share of its patches that have its color.

    A patch has it if its color is nearer to the `truth` than to all of the `palette`'s colors that can be told apart
    from the truth.
    """
    others = palette[:, None, None]  # [B,1,1,K,3]
    other = distance(result[..., None, :], others)
    other = other.masked_fill(distance(truth[..., None, :], others) < APART, torch.inf).amin(-1)
    right = distance(result, truth) < other
    return {label: right[labels == label].float().mean().item() for label in labels.unique().tolist() if label >= 0}


def layout_share(result: torch.Tensor, truth: torch.Tensor, layout: torch.Tensor) -> float:
    """Of the patches where the picture `layout` has another color than the `truth`, the share that is nearer to it.

    With the reference as `layout`: how much of where its colors stand has leaked.
    """
    contested = distance(truth, layout) >= APART
    return (distance(result, layout) < distance(result, truth))[contested].float().mean().item()


def distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a - b).norm(dim=-1)

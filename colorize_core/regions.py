"""Several references in one drawing: how much each counts at each place."""

import torch
import torch.nn.functional as F

from .sketch import LATENT_DOWNSCALE, place


def fit_mask(mask: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """A mask on the sketch [M,h,w] in 0..1, fitted as the drawing was, at the size of a latent: [M,height,width].

    Each value is the mean over the latent pixel's 8x8 pixels; outside of the drawing it is 0.
    """
    canvas = place(mask, LATENT_DOWNSCALE * height, LATENT_DOWNSCALE * width)
    return F.avg_pool2d(canvas[:, None], LATENT_DOWNSCALE)[:, 0]


def region_weights(masks: torch.Tensor, strengths: torch.Tensor) -> torch.Tensor:
    """What the reference of the whole, first, and those of R regions count: [B,1+R,h,w].

    With s the sum of the masks m_i [B,R,h,w] at a place, region i counts m_i / max(1, s) times its strength [B,R], and
    the whole max(0, 1 - s).
    """
    total = masks.sum(dim=1, keepdim=True)
    regions = masks / total.clamp(min=1) * strengths[..., None, None]
    return torch.cat([(1 - total).clamp(min=0), regions], dim=1)

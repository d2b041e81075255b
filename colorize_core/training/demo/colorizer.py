"""The demo's colorizer: latent diffusion on figures, its reference the same palette in another pose.

Small pictures first: they cost a quarter, and where to look for which colour carries over to large ones.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ...checkpoint import Config
from ..diffusion import STEPS, cumulative_alphas
from ..strategies import drop_tokens, noise_tokens

CONFIG = Config(
    version="v1",
    prediction="v",
    in_channels=4,
    out_channels=4,
    model_channels=32,
    channel_mult=(1, 2, 2, 2),
    num_res_blocks=(2, 2, 2, 2),
    transformer_depth=(1, 1, 1, 1, 1, 1, 0, 0),
    transformer_depth_middle=1,
    transformer_depth_output=(1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0),
    context_dim=64,
    num_head_channels=16,
    use_linear_in_transformer=False,
)
OWN_REFERENCE = 0.1  # how often a picture is its own reference
DROPPED_REFERENCE = 0.35
NOISY = 0.5
DROPPED_SKETCH = 0.1
CLS_BATCHES = 0.15  # the same weights then serve as the CLS model
KEPT_TOKENS = 96  # of the 256 local ones, drawn anew each step: cheaper, and an augmentation
OFFSET_NOISE = 0.05


@dataclass(frozen=True)
class Encoded:
    """`latent` [N,4,h,w] scaled, `sketch` [N,8h,8w] uint8 (black on white), `tokens` [N,257,D]."""

    latent: np.ndarray
    sketch: np.ndarray
    tokens: np.ndarray


def loss(unet: nn.Module, data: Encoded, batch: int, rng: np.random.Generator) -> torch.Tensor:
    """Squared error of the predicted velocity."""
    device = next(unet.parameters()).device
    picks = rng.integers(len(data.latent), size=batch)
    partners = np.where(rng.random(batch) < OWN_REFERENCE, picks, picks ^ 1)

    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values).to(device).float()

    sketch = 1 - tensor(data.sketch[picks]).div(127.5)[:, None].expand(-1, 3, -1, -1)
    blank = torch.rand(batch, 1, 1, 1, device=device) < DROPPED_SKETCH
    hints = unet.control_encoder(torch.where(blank, -torch.ones_like(sketch), sketch))

    if rng.random() < CLS_BATCHES:
        tokens = tensor(data.tokens[partners, :1])
    else:
        kept = 1 + rng.permutation(data.tokens.shape[1] - 1)[:KEPT_TOKENS]
        tokens = tensor(data.tokens[partners[:, None], kept])
    t = torch.randint(0, STEPS, (batch,), device=device)
    alphas = cumulative_alphas().to(device)
    noisy = torch.rand(batch, 1, 1, device=device) < NOISY
    tokens = drop_tokens(torch.where(noisy, noise_tokens(tokens, t, alphas), tokens), DROPPED_REFERENCE)

    latent = tensor(data.latent[picks])
    noise = torch.randn_like(latent) + OFFSET_NOISE * torch.randn(*latent.shape[:2], 1, 1, device=device)
    alpha, sigma = (level[:, None, None, None] for level in (alphas[t].sqrt(), (1 - alphas[t]).sqrt()))
    named = {f"hint_{k}": hint for k, hint in enumerate(hints)}
    velocity = unet(alpha * latent + sigma * noise, t, context=tokens, **named)
    return (velocity - (alpha * noise - sigma * latent)).square().mean()

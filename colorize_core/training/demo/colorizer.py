"""The demo's colorizer: latent diffusion on figures, its reference the same palette in another pose.

Small pictures first: they cost a quarter, and where to look for which colour carries over to large ones.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ...checkpoint import Config
from ..diffusion import cumulative_alphas
from ..strategies import Strategy, colorizer_loss, draw
from .figures import BOTTOMS

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
STRATEGY = Strategy(drop_rate=0.35, noisy_rate=0.5, sketch_drop_rate=0.1, offset_noise=0.05)
WHOLE_FIGURES = 3.0  # times as often as other pictures
OWN_REFERENCE = 0.1  # how often a picture is its own reference
CLS_BATCHES = 0.15  # the same weights then serve as the CLS model
KEPT_TOKENS = 96  # of the 256 local ones, drawn anew each step: cheaper, and an augmentation


@dataclass(frozen=True)
class Encoded:
    """`latent` [N,4,h,w] scaled, `sketch` [N,8h,8w] uint8 (black on white), `tokens` [N,257,D], `chance` [N]."""

    latent: np.ndarray
    sketch: np.ndarray
    tokens: np.ndarray
    chance: np.ndarray  # how often each picture is drawn


def chances(words: list[dict[str, str]]) -> np.ndarray:
    """[N]: whole figures whose reference is one as well are rare, and alone teach where the colours of legs are."""
    whole = np.array([bool(shown.keys() & BOTTOMS) for shown in words])
    weight = np.where(whole & whole[np.arange(len(words)) ^ 1], WHOLE_FIGURES, 1.0)
    return weight / weight.sum()


def loss(model: nn.Module, data: Encoded, batch: int, rng: np.random.Generator) -> torch.Tensor:
    """The loss of `STRATEGY` on a batch; `model` is a Colorizer."""
    device = next(model.parameters()).device
    picks = rng.choice(len(data.chance), size=batch, p=data.chance)
    partners = np.where(rng.random(batch) < OWN_REFERENCE, picks, picks ^ 1)
    local = 1 + rng.permutation(data.tokens.shape[1] - 1)[:KEPT_TOKENS]
    kept = np.array([0]) if rng.random() < CLS_BATCHES else local

    arrays = data.latent[picks], data.sketch[picks], data.tokens[partners[:, None], kept]
    latent, sketch, tokens = (torch.from_numpy(values).to(device).float() for values in arrays)
    white_on_black = 1 - sketch.div(127.5)[:, None].expand(-1, 3, -1, -1)
    seeds = torch.from_numpy(rng.integers(1 << 62, size=batch))
    draws = draw(seeds, latent.shape, tokens.shape, device)
    alphas = cumulative_alphas().to(device)
    return colorizer_loss(model, latent, white_on_black, tokens, draws, STRATEGY, CONFIG.prediction, alphas)

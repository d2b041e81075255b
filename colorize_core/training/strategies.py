"""Strategies against the distribution problem: a model that obeys its reference so well that it loses the sketch.

arXiv 2401.01456 trains with references that are dropped or noised as much as the picture itself, or with a second loss
that sees no reference. They combine freely here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ..sketch import BLANK
from .diffusion import STEPS, add_noise, min_snr_weight, target

MIRRORED_FROM = 900  # the last tenth of the schedule
DRAWS_STREAM = 1  # keeps the draws apart from other generators that take a sample's seed as it is


@dataclass(frozen=True)
class Strategy:
    """How the colorizer is trained. Rates are shares of the samples, 0..1.

    `dual_weight` is the lambda of the loss without a reference, `offset_noise` the strength of noise that is constant
    over each channel, `min_snr_gamma` the largest signal-to-noise ratio that still counts (None: all count equally).
    Raises ValueError for a value out of range.
    """

    drop_rate: float = 0.0
    noisy_rate: float = 0.0  # 1 is the paper's noisy training
    dual_weight: float = 0.0
    sketch_drop_rate: float = 0.0
    offset_noise: float = 0.0
    min_snr_gamma: float | None = None

    def __post_init__(self):
        for name in ("drop_rate", "noisy_rate", "sketch_drop_rate"):
            rate = getattr(self, name)
            if not 0 <= rate <= 1:
                raise ValueError(f"{name}: {rate} is not a share of the samples. Set it between 0 and 1.")
        for name in ("dual_weight", "offset_noise"):
            weight = getattr(self, name)
            if not 0 <= weight < float("inf"):
                raise ValueError(f"{name}: {weight} is out of range. Set it to 0 (off) or more.")
        if self.min_snr_gamma is not None and not 0 < self.min_snr_gamma < float("inf"):
            raise ValueError(f"min_snr_gamma: {self.min_snr_gamma} is out of range. Set it above 0, or leave it out.")


@dataclass(frozen=True)
class Draws:
    """Everything random about a batch of B samples; the uniforms are in [0, 1)."""

    t: torch.Tensor  # [B] long, 0..999
    noise: torch.Tensor  # [B,4,h,w]
    offset: torch.Tensor  # [B,4,1,1]
    dual_noise: torch.Tensor  # [B,4,h,w]
    token_noise: torch.Tensor  # [B,N,D]
    drop: torch.Tensor  # [B] uniform
    noisy: torch.Tensor  # [B] uniform
    sketch_drop: torch.Tensor  # [B] uniform


def draw(
    seeds: Sequence[int],
    latent_shape: tuple[int, ...],
    token_shape: tuple[int, ...],
    device: torch.device | str,
) -> Draws:
    """Draws for the samples of `seeds` (B whole numbers, 0 or more), latents [...,4,h,w] and tokens [...,N,D].

    A row depends on its own seed alone: how a batch is split over processes or accumulation steps changes nothing.
    """
    rows = [_draw_row(int(seed), tuple(latent_shape[-3:]), tuple(token_shape[-2:]), device) for seed in seeds]
    return Draws(**{name: torch.stack([row[name] for row in rows]) for name in rows[0]})


def _draw_row(
    seed: int, latent_shape: tuple[int, ...], token_shape: tuple[int, ...], device: torch.device | str
) -> dict[str, torch.Tensor]:
    # torch's CPU generator sees only the low 32 bits of a seed, so all of it is hashed into them.
    hashed = np.random.SeedSequence([DRAWS_STREAM, seed]).generate_state(1)[0]
    options = {"generator": torch.Generator(device).manual_seed(int(hashed)), "device": device}
    drop, noisy, sketch_drop = torch.rand(3, **options)
    return {
        "t": torch.randint(0, STEPS, (), **options),
        "drop": drop,
        "noisy": noisy,
        "sketch_drop": sketch_drop,
        "offset": torch.randn(latent_shape[0], 1, 1, **options),
        "noise": torch.randn(latent_shape, **options),
        "dual_noise": torch.randn(latent_shape, **options),
        "token_noise": torch.randn(token_shape, **options),
    }


def token_noise_level(t: torch.Tensor, alphas: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The factors of tokens and noise in noisy training at timesteps `t`, mirrored in the last tenth to 999 - t."""
    level = alphas[torch.where(t >= MIRRORED_FROM, STEPS - 1 - t, t)]
    return level.sqrt(), (1 - level).sqrt()


def noise_tokens(tokens: torch.Tensor, noise: torch.Tensor, t: torch.Tensor, alphas: torch.Tensor) -> torch.Tensor:
    """Noisy training: alpha_t tokens + beta_t noise, for `tokens` [B,N,D] and the picture's own timesteps [B]."""
    alpha, beta = (level[:, None, None] for level in token_noise_level(t, alphas))
    return alpha * tokens + beta * noise


def colorizer_loss(
    model: nn.Module,
    latent: torch.Tensor,
    sketch: torch.Tensor,
    tokens: torch.Tensor,
    draws: Draws,
    strategy: Strategy,
    prediction: str,
    alphas: torch.Tensor,
    weight: torch.Tensor | None = None,
) -> torch.Tensor:
    """Loss of a batch, the mean over its rows (a scalar).

    `model(noisy, t, tokens, sketch)` predicts from `latent` [B,4,h,w] (scaled) noised to `draws.t`, reference `tokens`
    [B,N,D] and `sketch` [B,3,8h,8w] in [-1,1], white lines on black. Each row's squared error, times what each place
    counts (`weight` [B,1,h,w]; None: all the same), is averaged over the latent and weighed by min-SNR; a `dual_weight`
    of lambda adds lambda times the error of the same rows with the reference dropped, their own noise and the same
    timesteps (one forward of 2B rows).
    Raises ValueError when `prediction` is neither "eps" nor "v".
    """
    t = draws.t
    noise = draws.noise + strategy.offset_noise * draws.offset
    noised = (draws.noisy < strategy.noisy_rate)[:, None, None]
    tokens = torch.where(noised, noise_tokens(tokens, draws.token_noise, t, alphas), tokens)
    # Dropped after noising: a dropped reference is zeros, not noise.
    tokens = tokens.masked_fill((draws.drop < strategy.drop_rate)[:, None, None], 0)
    sketch = sketch.masked_fill((draws.sketch_drop < strategy.sketch_drop_rate)[:, None, None, None], BLANK)
    row_weight = torch.ones_like(draws.drop)

    if strategy.dual_weight:
        noise = torch.cat([noise, draws.dual_noise + strategy.offset_noise * draws.offset])
        tokens = torch.cat([tokens, torch.zeros_like(tokens)])
        latent, sketch, t = (torch.cat([rows, rows]) for rows in (latent, sketch, t))
        weight = None if weight is None else torch.cat([weight, weight])
        row_weight = torch.cat([row_weight, strategy.dual_weight * row_weight])

    if strategy.min_snr_gamma is not None:
        row_weight = row_weight * min_snr_weight(t, alphas, strategy.min_snr_gamma, prediction)
    predicted = model(add_noise(latent, noise, t, alphas), t, tokens, sketch)
    error = (predicted.float() - target(latent, noise, t, alphas, prediction)).square()
    if weight is not None:
        error = weight * error
    return (row_weight * error.flatten(1).mean(1)).sum() / len(draws.t)

"""Strategies against the distribution problem: a model that obeys its reference so well that it loses the sketch.

arXiv 2401.01456 trains with references that are dropped, or noised as much as the picture itself.
"""

import torch

STEPS = 1000
MIRRORED_FROM = 900  # the last tenth of the schedule


def cumulative_alphas() -> torch.Tensor:
    """Products of 1 - beta_t of Stable Diffusion's schedule: the square roots of beta rise linearly, [1000]."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, STEPS, dtype=torch.float64) ** 2
    return (1 - betas).cumprod(0).float()


def token_noise_level(t: torch.Tensor, alphas: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The factors of tokens and noise in noisy training at timesteps `t`, mirrored in the last tenth to 999 - t."""
    kept = alphas[torch.where(t >= MIRRORED_FROM, STEPS - 1 - t, t)]
    return kept.sqrt(), (1 - kept).sqrt()


def noise_tokens(tokens: torch.Tensor, t: torch.Tensor, alphas: torch.Tensor) -> torch.Tensor:
    """Noisy training: alpha_t tokens + beta_t noise, for `tokens` [B,N,D] and the picture's own timesteps [B]."""
    alpha, beta = (level[:, None, None] for level in token_noise_level(t, alphas))
    return alpha * tokens + beta * torch.randn_like(tokens)


def drop_tokens(tokens: torch.Tensor, rate: float) -> torch.Tensor:
    """Dropping: each reference of the batch becomes zeros with probability `rate`."""
    kept = torch.rand(len(tokens), 1, 1, device=tokens.device) >= rate
    return tokens * kept

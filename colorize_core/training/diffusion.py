"""The diffusion that the denoisers are trained on: schedule, noising, what is predicted, how timesteps weigh."""

import torch

STEPS = 1000
PREDICTIONS = ("eps", "v")


def cumulative_alphas() -> torch.Tensor:
    """Products of 1 - beta_t of Stable Diffusion's schedule: the square roots of beta rise linearly, [1000]."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, STEPS, dtype=torch.float64) ** 2
    return (1 - betas).cumprod(0).float()


def add_noise(latent: torch.Tensor, noise: torch.Tensor, t: torch.Tensor, alphas: torch.Tensor) -> torch.Tensor:
    """z_t = sqrt(alpha_t) latent + sqrt(1 - alpha_t) noise, for [B,C,h,w] at timesteps `t` [B]."""
    signal, sigma = _levels(t, alphas)
    return signal * latent + sigma * noise


def target(
    latent: torch.Tensor, noise: torch.Tensor, t: torch.Tensor, alphas: torch.Tensor, prediction: str
) -> torch.Tensor:
    """What the denoiser should answer, [B,C,h,w]: the noise ("eps"), or sqrt(alpha_t) noise - sqrt(1 - alpha_t) latent
    ("v", arXiv 2202.00512). Raises ValueError for any other prediction."""
    check_prediction(prediction)
    if prediction == "eps":
        return noise
    signal, sigma = _levels(t, alphas)
    return signal * noise - sigma * latent


def min_snr_weight(t: torch.Tensor, alphas: torch.Tensor, gamma: float, prediction: str) -> torch.Tensor:
    """Weight of each sample's squared error, [B]: the signal-to-noise ratio, at most `gamma`, per unit of what is
    predicted (arXiv 2303.09556): over snr for "eps", over snr + 1 for "v". Raises ValueError for any other prediction.
    """
    check_prediction(prediction)
    snr = alphas[t] / (1 - alphas[t])
    return snr.clamp(max=gamma) / (snr if prediction == "eps" else snr + 1)


def check_prediction(prediction: str) -> None:
    if prediction not in PREDICTIONS:
        raise ValueError(f"prediction: {prediction!r} is not known. Take one of {', '.join(PREDICTIONS)}.")


def _levels(t: torch.Tensor, alphas: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    alpha = alphas[t][:, None, None, None]
    return alpha.sqrt(), (1 - alpha).sqrt()

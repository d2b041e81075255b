import pytest
import torch

from colorize_core.training.diffusion import STEPS, add_noise, cumulative_alphas, min_snr_weight, target

T = torch.tensor([0, 400, 999])


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    """Latents and noise, [3,4,2,2] each."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 4, 2, 2, generator=generator), torch.randn(3, 4, 2, 2, generator=generator)


def test_a_latent_is_noised_by_the_square_roots_of_its_own_timestep(pair):
    latent, noise = pair
    alphas = cumulative_alphas()
    noisy = add_noise(latent, noise, T, alphas)
    for row, t in enumerate(T.tolist()):
        a = alphas[t].item()
        assert torch.allclose(noisy[row], a**0.5 * latent[row] + (1 - a) ** 0.5 * noise[row], atol=1e-6)


@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_the_latent_comes_back_from_the_noisy_one_and_the_target(pair, prediction):
    latent, noise = pair
    alphas = cumulative_alphas()
    noisy, answer = add_noise(latent, noise, T, alphas), target(latent, noise, T, alphas, prediction)
    a = alphas[T][:, None, None, None]
    recovered = (
        (noisy - (1 - a).sqrt() * answer) / a.sqrt()
        if prediction == "eps"
        else a.sqrt() * noisy - (1 - a).sqrt() * answer
    )
    assert torch.allclose(recovered, latent, atol=1e-4)


@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_min_snr_weighs_by_the_capped_ratio_per_unit_of_the_target(gamma):
    alphas = cumulative_alphas()
    for t in (0, 100, 400, 700, 999):
        snr = (alphas[t] / (1 - alphas[t])).item()
        eps, v = (min_snr_weight(torch.tensor([t]), alphas, gamma, p).item() for p in ("eps", "v"))
        assert eps == pytest.approx(min(snr, gamma) / snr, rel=1e-5)
        assert v == pytest.approx(min(snr, gamma) / (snr + 1), rel=1e-5)


def test_min_snr_leaves_noisy_timesteps_alone_and_weakens_clean_ones():
    alphas = cumulative_alphas()
    weights = min_snr_weight(torch.arange(STEPS), alphas, 5.0, "eps")
    assert weights[-1] == 1 and weights[0] < 0.01 and (weights.diff() >= 0).all()


def test_an_unknown_prediction_is_an_error_that_names_the_known_ones(pair):
    alphas = cumulative_alphas()
    with pytest.raises(ValueError, match=r"'x0' is not known.*eps, v"):
        target(*pair, T, alphas, "x0")
    with pytest.raises(ValueError, match="'x0' is not known"):
        min_snr_weight(T, alphas, 5.0, "x0")

import torch

from colorize_core.training.diffusion import cumulative_alphas
from colorize_core.training.strategies import drop_tokens, noise_tokens, token_noise_level


def test_the_noise_on_tokens_is_the_published_one(golden):
    alphas = cumulative_alphas()
    assert (alphas - golden["alphas_cumprod"]).abs().max() < 1e-6
    alpha, beta = token_noise_level(golden["noisy.t"].long(), alphas)
    assert (alpha - golden["noisy.alpha"].flatten()).abs().max() < 1e-5
    assert (beta - golden["noisy.beta"].flatten()).abs().max() < 1e-5


def test_the_last_tenth_of_the_schedule_is_mirrored():
    alphas = cumulative_alphas()
    alpha, _ = token_noise_level(torch.tensor([899, 900, 950, 999]), alphas)
    assert torch.equal(alpha, alphas[[899, 99, 49, 0]].sqrt())


def test_noised_tokens_keep_their_variance():
    tokens = torch.randn(4, 512, 64, generator=torch.Generator().manual_seed(0))
    noised = noise_tokens(tokens, torch.tensor([0, 300, 800, 999]), cumulative_alphas())
    assert (noised.std(dim=(1, 2)) - 1).abs().max() < 0.02
    assert (noised[0] - tokens[0]).abs().max() < 0.2 and (noised[2] - tokens[2]).abs().mean() > 0.5


def test_a_dropped_reference_is_zeros_and_the_others_stay():
    tokens = torch.ones(1000, 2, 3)
    kept = drop_tokens(tokens, 0.75)
    rows = kept.flatten(1).sum(1)
    assert set(rows.tolist()) == {0.0, 6.0} and 0.7 < (rows == 0).float().mean() < 0.8
    assert torch.equal(drop_tokens(tokens, 0.0), tokens) and drop_tokens(tokens, 1.0).sum() == 0

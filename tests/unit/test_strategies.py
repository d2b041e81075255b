from dataclasses import fields, replace

import pytest
import torch
from torch import nn

from colorize_core.training.diffusion import cumulative_alphas
from colorize_core.training.strategies import (
    Draws,
    Strategy,
    colorizer_loss,
    draw,
    noise_tokens,
    token_noise_level,
)

ALPHAS = cumulative_alphas()
LATENT, TOKENS = (4, 2, 3), (5, 6)  # shapes of a sample
PREDICTIONS = pytest.mark.parametrize("prediction", ["eps", "v"])


class TinyColorizer(nn.Module):
    """Attends from the noisy latent to the tokens, and adds the sketch and the timestep. Keeps what it was given."""

    def __init__(self):
        super().__init__()
        self.to_q = nn.Linear(4, 8, bias=False)
        self.to_k, self.to_v = nn.Linear(TOKENS[1], 8, bias=False), nn.Linear(TOKENS[1], 8, bias=False)
        self.to_out = nn.Linear(8, 4)
        self.hint = nn.Conv2d(3, 4, 8, stride=8)

    def forward(self, noisy, t, tokens, sketch):
        self.given = noisy, t, tokens, sketch
        x = noisy.flatten(2).mT
        attended = nn.functional.scaled_dot_product_attention(self.to_q(x), self.to_k(tokens), self.to_v(tokens))
        answer = (x + self.to_out(attended)).mT.reshape(noisy.shape)
        return answer + self.hint(sketch) + t[:, None, None, None] / 1000


@pytest.fixture
def model() -> TinyColorizer:
    torch.manual_seed(0)
    return TinyColorizer()


def samples(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """`count` latents, sketches and references."""
    generator = torch.Generator().manual_seed(1)
    latent = torch.randn(count, *LATENT, generator=generator)
    sketch = torch.rand(count, 3, 8 * LATENT[1], 8 * LATENT[2], generator=generator) * 2 - 1
    return latent, sketch, torch.randn(count, *TOKENS, generator=generator)


def drawn(count: int) -> Draws:
    return draw(torch.arange(count), LATENT, TOKENS, "cpu")


def mean_error(model, latent, sketch, tokens, t, noise, prediction, weight=None, places=None) -> torch.Tensor:
    """The formula by hand, a row at a time: mean of weight * || target - model(z_t, t, tokens, sketch) ||^2 / size,
    the squares times `places` [B,1,h,w]."""
    total = 0
    for i in range(len(latent)):
        alpha, sigma = ALPHAS[t[i]] ** 0.5, (1 - ALPHAS[t[i]]) ** 0.5
        noisy = alpha * latent[i] + sigma * noise[i]
        wanted = noise[i] if prediction == "eps" else alpha * noise[i] - sigma * latent[i]
        answer = model(noisy[None], t[i : i + 1], tokens[i : i + 1], sketch[i : i + 1])[0]
        squares = (answer - wanted) ** 2 * (1 if places is None else places[i])
        error = squares.sum() / wanted.numel()
        total = total + error * (1 if weight is None else weight[i])
    return total / len(latent)


def test_the_last_tenth_of_the_schedule_is_mirrored():
    alpha, beta = token_noise_level(torch.tensor([899, 900, 950, 999]), ALPHAS)
    assert torch.equal(alpha, ALPHAS[[899, 99, 49, 0]].sqrt())
    assert torch.equal(beta, (1 - ALPHAS[[899, 99, 49, 0]]).sqrt())


def test_noised_tokens_keep_their_variance():
    tokens, noise = torch.randn(2, 4, 512, 64, generator=torch.Generator().manual_seed(0))
    noised = noise_tokens(tokens, noise, torch.tensor([0, 300, 800, 999]), ALPHAS)
    assert (noised.std(dim=(1, 2)) - 1).abs().max() < 0.02
    assert (noised[0] - tokens[0]).abs().max() < 0.2 and (noised[2] - tokens[2]).abs().mean() > 0.5


@PREDICTIONS
def test_without_a_strategy_the_loss_is_the_plain_squared_error(model, prediction):
    latent, sketch, tokens = samples(4)
    draws = drawn(4)
    loss = colorizer_loss(model, latent, sketch, tokens, draws, Strategy(), prediction, ALPHAS)
    by_hand = mean_error(model, latent, sketch, tokens, draws.t, draws.noise, prediction)
    assert loss.ndim == 0 and torch.allclose(loss, by_hand, rtol=1e-5)


@PREDICTIONS
def test_noisy_training_shows_tokens_noised_to_the_timestep_of_the_picture(model, prediction):
    latent, sketch, tokens = samples(4)
    draws = replace(drawn(4), t=torch.tensor([10, 899, 900, 999]))
    loss = colorizer_loss(model, latent, sketch, tokens, draws, Strategy(noisy_rate=1), prediction, ALPHAS)
    level = ALPHAS[[10, 899, 99, 0]][:, None, None]
    noised = level**0.5 * tokens + (1 - level) ** 0.5 * draws.token_noise
    assert torch.allclose(model.given[2], noised, atol=1e-6)
    assert torch.allclose(loss, mean_error(model, latent, sketch, noised, draws.t, draws.noise, prediction), rtol=1e-5)


def test_only_the_noisy_share_of_the_references_is_noised(model):
    latent, sketch, tokens = samples(3)
    draws = replace(drawn(3), noisy=torch.tensor([0.1, 0.5, 0.9]))
    colorizer_loss(model, latent, sketch, tokens, draws, Strategy(noisy_rate=0.5), "eps", ALPHAS)
    unchanged = [torch.equal(model.given[2][i], tokens[i]) for i in range(3)]
    assert unchanged == [False, True, True]


@PREDICTIONS
def test_dropping_zeroes_the_drawn_references(model, prediction):
    latent, sketch, tokens = samples(4)
    draws = replace(drawn(4), drop=torch.tensor([0.1, 0.7, 0.76, 0.99]))
    loss = colorizer_loss(model, latent, sketch, tokens, draws, Strategy(drop_rate=0.75), prediction, ALPHAS)
    kept = torch.stack([torch.zeros(TOKENS), torch.zeros(TOKENS), tokens[2], tokens[3]])
    assert torch.equal(model.given[2], kept)
    assert torch.allclose(loss, mean_error(model, latent, sketch, kept, draws.t, draws.noise, prediction), rtol=1e-5)


@pytest.mark.parametrize("noisy_rate", [0, 1])
def test_with_every_reference_dropped_keys_and_values_learn_exactly_nothing(model, noisy_rate):
    strategy = Strategy(drop_rate=1, noisy_rate=noisy_rate)
    colorizer_loss(model, *samples(4), drawn(4), strategy, "eps", ALPHAS).backward()
    assert model.to_k.weight.grad.count_nonzero() == 0 and model.to_v.weight.grad.count_nonzero() == 0
    assert model.hint.weight.grad.count_nonzero() > 0
    model.zero_grad()
    colorizer_loss(model, *samples(4), drawn(4), replace(strategy, drop_rate=0), "eps", ALPHAS).backward()
    assert model.to_k.weight.grad.count_nonzero() > 0 and model.to_v.weight.grad.count_nonzero() > 0


@PREDICTIONS
def test_noisy_and_dropping_together_drop_after_noising(model, prediction):
    latent, sketch, tokens = samples(3)
    draws = replace(drawn(3), drop=torch.tensor([0.2, 0.9, 0.9]), noisy=torch.tensor([0.2, 0.2, 0.9]))
    strategy = Strategy(drop_rate=0.5, noisy_rate=0.5)
    loss = colorizer_loss(model, latent, sketch, tokens, draws, strategy, prediction, ALPHAS)
    noised = noise_tokens(tokens, draws.token_noise, draws.t, ALPHAS)
    seen = torch.stack([torch.zeros(TOKENS), noised[1], tokens[2]])
    assert torch.equal(model.given[2], seen)
    assert torch.allclose(loss, mean_error(model, latent, sketch, seen, draws.t, draws.noise, prediction), rtol=1e-5)


@PREDICTIONS
def test_dual_conditioning_adds_lambda_times_the_loss_without_references(model, prediction):
    latent, sketch, tokens = samples(3)
    draws = drawn(3)
    strategy = Strategy(dual_weight=0.7)
    loss = colorizer_loss(model, latent, sketch, tokens, draws, strategy, prediction, ALPHAS)
    assert [len(rows) for rows in model.given] == [6] * 4, "both halves are one forward"
    conditioned = mean_error(model, latent, sketch, tokens, draws.t, draws.noise, prediction)
    dropped = mean_error(model, latent, sketch, torch.zeros_like(tokens), draws.t, draws.dual_noise, prediction)
    assert torch.allclose(loss, conditioned + 0.7 * dropped, rtol=1e-5)


def test_dual_conditioning_goes_with_every_other_part(model):
    latent, sketch, tokens = samples(3)
    draws = replace(drawn(3), drop=torch.tensor([0.2, 0.9, 0.9]), sketch_drop=torch.tensor([0.9, 0.9, 0.05]))
    strategy = Strategy(0.5, 1.0, dual_weight=2, sketch_drop_rate=0.1, offset_noise=0.3, min_snr_gamma=1)
    loss = colorizer_loss(model, latent, sketch, tokens, draws, strategy, "v", ALPHAS)
    tokens = noise_tokens(tokens, draws.token_noise, draws.t, ALPHAS)
    tokens[0] = 0
    sketch[2] = -1
    snr = ALPHAS[draws.t] / (1 - ALPHAS[draws.t])
    weight = snr.clamp(max=1) / (snr + 1)
    noise, dual_noise = draws.noise + 0.3 * draws.offset, draws.dual_noise + 0.3 * draws.offset
    conditioned = mean_error(model, latent, sketch, tokens, draws.t, noise, "v", weight)
    dropped = mean_error(model, latent, sketch, torch.zeros_like(tokens), draws.t, dual_noise, "v", weight)
    assert torch.allclose(loss, conditioned + 2 * dropped, rtol=1e-5)


def test_a_dropped_sketch_is_empty_paper(model):
    latent, sketch, tokens = samples(2)
    draws = replace(drawn(2), sketch_drop=torch.tensor([0.05, 0.5]))
    colorizer_loss(model, latent, sketch, tokens, draws, Strategy(sketch_drop_rate=0.1), "eps", ALPHAS)
    assert (model.given[3][0] == -1).all() and torch.equal(model.given[3][1], sketch[1])


@PREDICTIONS
def test_offset_noise_shifts_whole_channels_of_the_noise(model, prediction):
    latent, sketch, tokens = samples(3)
    draws = drawn(3)
    loss = colorizer_loss(model, latent, sketch, tokens, draws, Strategy(offset_noise=0.1), prediction, ALPHAS)
    noise = draws.noise + 0.1 * draws.offset.expand(3, *LATENT)
    assert torch.allclose(loss, mean_error(model, latent, sketch, tokens, draws.t, noise, prediction), rtol=1e-5)


@PREDICTIONS
def test_min_snr_weighs_each_row_by_its_timestep(model, prediction):
    latent, sketch, tokens = samples(3)
    draws = replace(drawn(3), t=torch.tensor([20, 300, 900]))
    loss = colorizer_loss(model, latent, sketch, tokens, draws, Strategy(min_snr_gamma=5), prediction, ALPHAS)
    snr = ALPHAS[draws.t] / (1 - ALPHAS[draws.t])
    weight = snr.clamp(max=5) / (snr if prediction == "eps" else snr + 1)
    by_hand = mean_error(model, latent, sketch, tokens, draws.t, draws.noise, prediction, weight)
    assert torch.allclose(loss, by_hand, rtol=1e-5)


def test_places_of_the_latent_count_by_their_weight_in_both_losses(model):
    latent, sketch, tokens = samples(3)
    draws, places = drawn(3), torch.rand(3, 1, *LATENT[1:])
    loss = colorizer_loss(model, latent, sketch, tokens, draws, Strategy(dual_weight=0.5), "v", ALPHAS, places)
    conditioned = mean_error(model, latent, sketch, tokens, draws.t, draws.noise, "v", places=places)
    nothing = torch.zeros_like(tokens)
    dropped = mean_error(model, latent, sketch, nothing, draws.t, draws.dual_noise, "v", places=places)
    assert torch.allclose(loss, conditioned + 0.5 * dropped, rtol=1e-5)


def test_the_batch_is_left_as_it_was(model):
    batch = samples(3)
    before = [part.clone() for part in batch]
    strategy = Strategy(drop_rate=1, noisy_rate=1, sketch_drop_rate=1, dual_weight=1)
    colorizer_loss(model, *batch, drawn(3), strategy, "eps", ALPHAS)
    assert all(torch.equal(a, b) for a, b in zip(batch, before, strict=True))


def test_what_is_drawn_for_a_sample_depends_on_its_seed_alone():
    seeds = torch.tensor([7, 3, 2**40 + 3, 11])
    together = draw(seeds, LATENT, TOKENS, "cpu")
    parts = [draw(part, LATENT, TOKENS, "cpu") for part in (seeds[:1], seeds[1:])]
    for field in fields(Draws):
        rows = getattr(together, field.name)
        assert torch.equal(rows, torch.cat([getattr(part, field.name) for part in parts]))
        assert len(rows.flatten(1 if rows.ndim > 1 else 0).unique(dim=0)) == 4, f"{field.name} repeats between seeds"


def test_draws_are_spread_over_their_ranges():
    draws = drawn(2000)
    assert draws.t.dtype == torch.long and draws.t.min() < 10 and draws.t.max() > 989 and draws.t.max() < 1000
    for uniform in (draws.drop, draws.noisy, draws.sketch_drop):
        assert abs(uniform.mean() - 0.5) < 0.03 and uniform.min() >= 0 and uniform.max() < 1
    for normal in (draws.noise, draws.offset, draws.dual_noise, draws.token_noise):
        assert abs(normal.mean()) < 0.05 and abs(normal.std() - 1) < 0.03
    together = torch.stack([draws.t / 1000, draws.drop, draws.noisy, draws.sketch_drop])
    assert (torch.corrcoef(together) - torch.eye(4)).abs().max() < 0.1


@pytest.mark.parametrize("parts", [(2, 2, 2), (3, 3), (1,) * 6])
def test_any_even_split_of_the_batch_gives_the_same_mean_loss(model, parts):
    batch = (*samples(6), torch.arange(6))
    strategy = Strategy(0.5, 0.5, dual_weight=0.5, sketch_drop_rate=0.3, offset_noise=0.1, min_snr_gamma=5)

    def loss(latent, sketch, tokens, seeds):
        return colorizer_loss(
            model, latent, sketch, tokens, draw(seeds, latent.shape, tokens.shape, "cpu"), strategy, "v", ALPHAS
        )

    split = [loss(*rows) for rows in zip(*(part.split(parts) for part in batch), strict=True)]
    assert torch.allclose(torch.stack(split).mean(), loss(*batch), rtol=1e-5)


@pytest.mark.parametrize(
    "setting",
    [
        {"drop_rate": 1.1},
        {"noisy_rate": -0.1},
        {"sketch_drop_rate": float("nan")},
        {"dual_weight": -1},
        {"offset_noise": float("inf")},
        {"min_snr_gamma": 0},
    ],
)
def test_a_setting_out_of_range_is_an_error_that_names_it(setting):
    (name,) = setting
    with pytest.raises(ValueError, match=f"^{name}: .*(Set it|leave it out)"):
        Strategy(**setting)

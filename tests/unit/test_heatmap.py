import pytest
import torch

from colorize_core.heatmap import (
    COLORS,
    correlation_map,
    draw_grid,
    legend,
    overlay,
    steps,
    viridis,
    weight_map,
    weight_mask,
)

GRID = (16, 16)
COLOR_TABLE = torch.tensor(COLORS) / 255


def peak(row: int, column: int) -> torch.Tensor:
    """[1,256]: correlations that are high at one token only."""
    correlations = torch.zeros(1, *GRID)
    correlations[0, row, column] = 5.0
    return correlations.flatten(1)


@pytest.mark.parametrize("size", [(64, 64), (37, 911), (300, 200)])
def test_the_map_has_the_pictures_size_and_is_highest_where_the_text_is(size):
    maps = correlation_map(peak(row=3, column=12), GRID, size)
    assert maps.shape == (1, *size) and maps.min() == 0 and maps.max() == 1
    row, column = divmod(int(maps.argmax()), size[1])
    assert row * 16 // size[0] == 3 and column * 16 // size[1] == 12


def test_the_map_is_interpolated_bicubically_so_it_swings_below_what_lies_beside_a_peak():
    stripe = torch.zeros(1, *GRID)
    stripe[:, :, 8] = 1.0
    row = correlation_map(stripe.flatten(1), GRID, (32, 32))[0, 0]  # two pixels to a token, 1/4 from its middle
    near, beside, beyond = 0.8789, 0.2617, -0.1055  # Keys' kernel with a = -3/4 at 1/4, 3/4 and 5/4
    expected = (torch.tensor([near, beside, beyond, 0.0]) - beyond) / (near - beyond)
    torch.testing.assert_close(row[[17, 18, 19, 25]], expected, atol=1e-3, rtol=0)


def test_each_picture_of_a_batch_has_its_own_range():
    first = correlation_map(peak(3, 3), GRID, (64, 64))
    both = correlation_map(torch.cat([peak(3, 3), 100 * peak(8, 8)]), GRID, (64, 64))
    assert torch.equal(both[:1], first) and both[1].max() == 1


def test_where_all_correlations_are_equal_nothing_is_found():
    assert correlation_map(torch.ones(1, 256), GRID, (32, 32)).max() == 0


def test_each_threshold_passed_is_one_step():
    values = torch.tensor([[[0.1, 0.5, 0.52, 0.6, 0.9, 1.0]]])
    passed = steps(values, torch.tensor([0.5, 0.55, 0.65, 0.95]))
    assert torch.equal(passed, torch.tensor([[[0, 0, 1, 2, 3, 4]]]) / 4)


def test_every_step_gets_brighter():
    colors = viridis(torch.tensor([[[0, 0.25, 0.5, 0.75, 1.0]]]))[0, 0]
    assert torch.allclose(colors, COLOR_TABLE)
    luminance = colors @ torch.tensor([0.2126, 0.7152, 0.0722])
    assert (luminance.diff() > 0.05).all()


def test_the_picture_shows_through_the_map():
    picture = torch.rand(1, 8, 8, 3, generator=torch.Generator().manual_seed(0))
    expected = 0.7 * COLOR_TABLE[4] + 0.3 * picture
    assert torch.allclose(overlay(picture, torch.ones(1, 8, 8)), expected)


def test_the_grid_parts_the_tokens_and_leaves_the_rest():
    lined = draw_grid(torch.ones(1, 160, 160, 3), GRID)
    assert lined[0, 5, 5].min() == 1 and lined[0, 10, 5].max() < 1 and lined[0, 5, 150].max() < 1
    assert (lined[0, 5, :, 0] < 1).sum() == 15


@pytest.mark.parametrize("width", [1, 64, 512, 2048])
def test_the_legend_shows_all_colors_at_any_width(width):
    strip = legend([0.5, 0.55, 0.65, 0.95], width)
    assert strip.shape[1:] == (width, 3)
    if width > 1:
        for place, color in enumerate(COLOR_TABLE):
            assert torch.allclose(strip[0, (2 * place + 1) * width // 10], color, atol=1e-3)


def test_the_legend_names_the_thresholds():
    one, other = (legend([0.5, 0.55, threshold, 0.95], 512) for threshold in (0.65, 0.75))
    changed = (one != other).any(dim=2).any(dim=0).nonzero()
    assert changed.min() >= 3 * 512 // 5 and changed.max() < 4 * 512 // 5


def test_weights_have_the_colors_of_the_steps_they_stand_for():
    weights = torch.tensor([[-2, -1, 0, 0.5, 1, 1.0]])
    colors = weight_map(weights, (2, 3), pixels=4)
    assert colors.shape == (1, 8, 12, 3)
    assert torch.allclose(colors[0, [0, 0, 0, 4, 4], [0, 4, 8, 0, 4]], COLOR_TABLE)


def test_as_a_mask_weights_below_zero_are_nothing():
    weights = torch.tensor([[-2, -1, 0, 0.5, 1, 1.0]]).repeat_interleave(3, dim=1)
    mask = weight_mask(weights, (6, 3), pixels=4)[0]
    assert mask.shape == (24, 12) and mask[:10].max() == 0 and mask[-6:].min() == 1
    assert mask[14].mean() == pytest.approx(0.5, abs=0.1)

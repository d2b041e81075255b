import numpy as np
import pytest
import torch
from drawings import colored, drawing
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from colorize_core.training import metrics

seeds = st.integers(0, 2**31)
quick = settings(max_examples=20, deadline=None)


def pictures(seed: int, count: int = 2, size: int = 48) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


# Line fidelity


@quick
@given(seeds, seeds)
def test_a_picture_drawn_from_the_sketch_has_line_fidelity_one_whatever_its_colors(seed, colors):
    lines, regions = drawing(seed)
    assert metrics.line_fidelity(colored(lines, regions, colors), lines).item() == pytest.approx(1, abs=1e-4)


def test_a_picture_drawn_from_another_sketch_has_line_fidelity_near_chance():
    lines = torch.cat([drawing(seed)[0] for seed in range(40)])
    results = torch.cat([colored(*drawing(seed), seed) for seed in range(40)])
    fidelity = metrics.line_fidelity(results.roll(1, 0), lines)
    assert fidelity.mean() < 0.15 and fidelity.max() < 0.5
    noise = torch.rand(40, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    assert metrics.line_fidelity(noise, lines).abs().max() < 0.1


def test_lost_lines_and_foreign_edges_both_lower_line_fidelity():
    lines, regions = drawing(0)
    whole, other = colored(lines, regions, 0), colored(*drawing(1), 0)
    lost, foreign = whole.clone(), torch.minimum(whole, other)
    lost[..., :48] = whole[..., :1]
    fidelity = metrics.line_fidelity(torch.cat([lost, foreign]), lines.expand(2, -1, -1))
    assert fidelity.max() < 0.9 and fidelity.min() > 0.3


def test_line_fidelity_is_the_correlation_of_edges_up_to_a_fifth_of_contrast_blurred_by_a_pixel():
    rng = np.random.default_rng(0)
    result, sketch = rng.uniform(0, 0.3, (3, 24, 24)), (rng.random((1, 24, 24)) < 0.1) * 0.15

    def edges(picture):
        contrast = ndimage.maximum_filter(picture, (1, 3, 3)) - ndimage.minimum_filter(picture, (1, 3, 3))
        return ndimage.gaussian_filter(np.minimum(contrast.max(0) / 0.2, 1), sigma=1, mode="mirror", radius=3)

    expected = np.corrcoef(edges(result).ravel(), edges(sketch).ravel())[0, 1]
    found = metrics.line_fidelity(*(torch.from_numpy(picture).float()[None] for picture in (result, sketch[0])))
    assert abs(expected) > 0.02 and found.item() == pytest.approx(expected, abs=1e-5)


def test_a_blurred_or_slightly_noisy_line_is_still_a_line():
    lines, regions = drawing(2)
    result = colored(lines, regions, 0)
    blurred = torch.nn.functional.avg_pool2d(result, 3, 1, 1, count_include_pad=False)
    noisy = result + 0.01 * torch.randn(result.shape, generator=torch.Generator().manual_seed(0))
    assert metrics.line_fidelity(torch.cat([blurred, noisy]), lines.expand(2, -1, -1)).min() > 0.85


def test_a_flat_result_has_no_line_fidelity_and_a_blank_sketch_is_an_error():
    lines, _ = drawing(0)
    assert metrics.line_fidelity(torch.full((1, 3, 96, 96), 0.5), lines) == 0
    with pytest.raises(ValueError, match="number 1 of the batch"):
        metrics.line_fidelity(torch.rand(2, 3, 96, 96), torch.cat([lines, torch.zeros_like(lines)]))


# Region color error


@quick
@given(seeds, seeds)
def test_the_names_of_regions_do_not_matter(seed, order):
    _, regions = drawing(seed)
    result, truth = pictures(seed, 1, 96), pictures(seed + 1, 1, 96)
    renamed = torch.randperm(256, generator=torch.Generator().manual_seed(order))[regions]
    expected = metrics.region_color_error(result, truth, regions)
    torch.testing.assert_close(metrics.region_color_error(result, truth, renamed), expected)


@quick
@given(seeds, seeds, st.floats(0, 50))
def test_the_color_error_is_the_shift_of_the_colors_whatever_the_lines_look_like(seed, colors, shift):
    lines, regions = drawing(seed)
    clean, drawn = colored(torch.zeros_like(lines), regions, colors), colored(lines, regions, colors)
    mostly_lines = [label for label in range(5) if lines[regions == label].sum() > 0.4 * (regions == label).sum()]
    regions[torch.isin(regions, torch.tensor(mostly_lines))] = -1
    error = metrics.region_color_error(drawn - shift / 255, clean, regions)
    assert error.item() == pytest.approx(shift, abs=1e-3)


def test_every_region_counts_the_same_whatever_its_size():
    regions = torch.zeros(1, 20, 20, dtype=torch.long)
    regions[:, :, 18:] = 7
    result = torch.zeros(1, 3, 20, 20)
    truth = torch.where(regions == 7, 100 / 255, 0.0)[:, None].expand(1, 3, 20, 20)
    assert metrics.region_color_error(result, truth, regions).item() == pytest.approx(50)


def test_a_reference_is_compared_by_its_own_region_map_at_its_own_size():
    lines, regions = drawing(3)
    small_lines, small_regions = lines[:, ::2, ::2], regions[:, ::2, ::2].flip(-1)
    result = colored(lines, regions, 5)
    reference = colored(small_lines.flip(-1), small_regions, 5)
    assert metrics.region_color_error(result, reference, regions, small_regions).item() == pytest.approx(0, abs=1e-4)
    assert metrics.region_color_error(result, colored(small_lines, small_regions, 6), regions, small_regions) > 10


def test_small_regions_and_negative_labels_do_not_count_and_without_any_region_it_is_nan():
    result, truth = torch.zeros(1, 3, 20, 20), torch.zeros(1, 3, 20, 20)
    regions = torch.zeros(1, 20, 20, dtype=torch.long)
    regions[:, :5, :5], regions[:, 10:] = 1, -1
    truth[:, :, :5, :5] = truth[:, :, 10:] = 1
    assert metrics.region_color_error(result, truth, regions) == 0
    assert metrics.region_color_error(result, truth, regions, least_pixels=25).item() == pytest.approx(127.5)
    assert metrics.region_color_error(result, truth, torch.full_like(regions, -1)).isnan()


# PSNR and MS-SSIM


@quick
@given(seeds)
def test_equal_pictures_are_perfect_by_every_measure(seed):
    same = pictures(seed)
    regions = torch.zeros(2, 48, 48, dtype=torch.long)
    assert metrics.psnr(same, same).isposinf().all()
    assert metrics.ms_ssim(same, same).tolist() == pytest.approx([1, 1], abs=1e-5)
    assert metrics.region_color_error(same, same, regions).tolist() == [0, 0]


def test_colors_that_stand_elsewhere_have_no_palette_error_and_other_colors_have_their_distance():
    picture = pictures(0, count=2, size=32) * 0.5
    moved = picture.flatten(2)[..., torch.randperm(32 * 32)].unflatten(2, (32, 32))
    assert metrics.palette_error(picture, moved).max() < 1e-3
    assert metrics.palette_error(picture, torch.nn.functional.interpolate(picture, scale_factor=2)).max() < 1
    lighter = metrics.palette_error(picture, picture + torch.tensor([0, 0, 0.2])[:, None, None])
    assert lighter.tolist() == pytest.approx([255 * 0.2 / 2] * 2, rel=0.03)  # |cos| of a direction is a half on average


def test_psnr_of_a_tenth_off_is_twenty_decibel_for_each_picture_alone():
    truth = pictures(0) * 0.5
    result = truth + torch.tensor([0.1, 0.01])[:, None, None, None]
    assert metrics.psnr(result, truth).tolist() == pytest.approx([20, 40], abs=1e-3)


@pytest.mark.parametrize(
    ("side", "scales"), [(10, 0), (11, 1), (22, 2), (43, 2), (44, 3), (99, 4), (175, 4), (176, 5), (1000, 5)]
)
def test_a_small_picture_has_fewer_scales_of_ms_ssim(side, scales):
    assert metrics.ms_ssim_scales(side, 2 * side) == scales


@pytest.mark.parametrize("side", [11, 22, 44, 99, 176])
def test_ms_ssim_falls_with_noise_at_every_size(side):
    truth = pictures(0, 1, side)
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(1))
    little, much = (metrics.ms_ssim((truth + s * noise).clamp(0, 1), truth).item() for s in (0.05, 0.3))
    assert 0.9 < little < 1 and 0 < much < little - 0.1


def test_a_picture_smaller_than_the_window_of_ms_ssim_is_an_error():
    with pytest.raises(ValueError, match="sides of 11 pixels"):
        metrics.ms_ssim(pictures(0, 1, 10), pictures(1, 1, 10))


# FID and KID


def test_fid_of_shifted_features_is_the_squared_shift():
    features = torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
    assert metrics.fid(features, features) == pytest.approx(0, abs=1e-4)
    assert metrics.fid(features, features + 2) == pytest.approx(4 * 8, rel=1e-4)


def test_kid_is_the_unbiased_estimate_written_out():
    x, y = torch.randn(2, 30, 8, generator=torch.Generator().manual_seed(0)).double()

    def kernel(a, b):
        return (a @ b.T / 8 + 1) ** 3

    within = [(kernel(a, a).sum() - kernel(a, a).trace()) / (30 * 29) for a in (x, y)]
    assert metrics.kid(x, y) == pytest.approx((sum(within) - 2 * kernel(x, y).mean()).item(), rel=1e-6)
    assert metrics.kid(x, y[:20]) == metrics.kid(x, y[:20])

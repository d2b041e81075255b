"""What the ablation measures, on pictures of which the answer is known."""

import torch

from ablation import measures
from demo.vae import prescribed_latent

RED, GREEN, GRAY = torch.eye(3)[0] * 255, torch.eye(3)[1] * 255, torch.full((3,), 128.0)


def halves(left, right, side=4):
    """Patch colors [1,side,side,3]."""
    return torch.stack([left, right])[:, None].expand(2, side // 2, 3).flatten(0, 1).expand(1, side, side, 3)


def test_patch_colors_are_the_mean_colors_of_8x8_pixels():
    picture = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(1)) * 2 - 1
    means = torch.nn.functional.avg_pool2d(picture, 8).movedim(1, -1).add(1).mul(127.5)
    torch.testing.assert_close(measures.patch_colors(prescribed_latent(picture)), means, atol=1e-3, rtol=0)


def test_a_patch_belongs_to_the_region_that_fills_it_if_the_reference_shows_that():
    regions = torch.zeros(2, 8, 24, dtype=torch.uint8)
    regions[:, :, 8:16] = 1
    regions[:, :4, 16:] = 1  # half and half
    known = torch.tensor([[True, True], [True, False]])
    assert measures.patch_regions(regions, known).tolist() == [[[0, 1, -1]], [[0, -1, -1]]]


def test_the_truth_is_right_everywhere_and_swapped_colors_nowhere():
    truth, swapped, palette = halves(RED, GREEN), halves(GREEN, RED), torch.stack([RED, GREEN])[None]
    labels = torch.tensor([0, 0, 1, 1]).expand(1, 4, 4)
    assert measures.region_correctness(truth, truth, labels, palette) == {0: 1.0, 1: 1.0}
    assert measures.region_correctness(swapped, truth, labels, palette) == {0: 0.0, 1: 0.0}
    assert measures.region_correctness(halves(RED, RED), truth, labels, palette) == {0: 1.0, 1: 0.0}


def test_a_color_that_cannot_be_told_from_the_truth_is_not_held_against_it():
    truth, palette = halves(RED, RED), torch.stack([RED, RED * 0.95, GREEN])[None]
    labels = torch.zeros(1, 4, 4, dtype=torch.long)
    assert measures.region_correctness(halves(RED * 0.94, RED), truth, labels, palette) == {0: 1.0}


def test_only_patches_where_two_layouts_differ_tell_which_one_was_followed():
    truth, layout = halves(RED, GRAY), halves(GREEN, GRAY)
    assert measures.layout_share(truth, truth, layout) == 0
    assert measures.layout_share(layout, truth, layout) == 1
    half = torch.cat([layout[:, :2], truth[:, 2:]], 1)
    assert measures.layout_share(half, truth, layout) == 0.5

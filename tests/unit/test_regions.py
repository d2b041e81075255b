import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from colorize_core.regions import fit_mask, region_weights


def masks(*values):
    """[1,R,1,1]: R masks of one place."""
    return torch.tensor(values).reshape(1, -1, 1, 1)


def weights(*values, strengths=None):
    strengths = torch.ones(1, len(values)) if strengths is None else torch.tensor([strengths])
    return region_weights(masks(*values), strengths).flatten().tolist()


def test_a_region_takes_the_share_of_its_mask_from_the_whole():
    assert weights(1.0) == [0.0, 1.0]
    assert weights(0.25) == [0.75, 0.25]
    assert weights(0.0, 0.0) == [1.0, 0.0, 0.0]


def test_overlapping_regions_share_a_place_and_leave_nothing_to_the_whole():
    assert weights(1.0, 1.0) == [0.0, 0.5, 0.5]
    assert weights(1.0, 0.25) == pytest.approx([0.0, 0.8, 0.2])


def test_a_strength_scales_its_own_region_alone():
    assert weights(0.5, 0.25, strengths=[2.0, 0.0]) == [0.25, 1.0, 0.0]


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=5))
def test_at_full_strength_the_weights_of_a_place_add_up_to_one(values):
    found = torch.tensor(weights(*values))
    assert (found >= 0).all() and abs(found.sum() - 1) < 1e-5


def test_a_mask_of_the_drawing_and_one_of_the_canvas_are_the_same_region():
    drawing = torch.zeros(1, 100, 50)
    drawing[:, :50] = 1
    canvas = torch.zeros(1, 128, 128)
    canvas[:, :64, 32:96] = 1  # the drawing is fitted to 128x64, centered
    assert torch.allclose(fit_mask(drawing, 16, 16), fit_mask(canvas, 16, 16), atol=0.02)
    assert fit_mask(drawing, 16, 16)[0, 4].tolist() == [0.0] * 4 + [1.0] * 8 + [0.0] * 4


def test_a_soft_edge_stays_soft():
    mask = torch.linspace(0, 1, 64).expand(1, 64, 64)
    fitted = fit_mask(mask, 8, 8)[0, 0]
    assert torch.allclose(fitted, mask[0, 0].reshape(8, 8).mean(1), atol=1e-6)

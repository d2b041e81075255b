import math

import pytest
import torch

from colorize_core.networks.embeddings import background_embedding, canvas_embedding, sinusoidal


def test_a_number_becomes_cosines_and_then_sines_of_falling_frequency():
    first, second = sinusoidal(torch.tensor([3.0, 0.0]), 4)
    expected = torch.tensor([math.cos(3.0), math.cos(0.03), math.sin(3.0), math.sin(0.03)])
    assert torch.allclose(first, expected)
    assert torch.equal(second, torch.tensor([1.0, 1.0, 0.0, 0.0]))


def test_a_canvas_is_known_by_its_area_and_one_score():
    wide, tall, large = (canvas_embedding(*size) for size in ((512, 2048), (2048, 512), (2048, 2048)))
    assert wide.shape == (1, 512)
    assert torch.equal(wide, tall)
    assert torch.equal(wide[:, 256:], large[:, 256:])
    assert not torch.allclose(wide[:, :256], large[:, :256], atol=0.1)


@pytest.mark.parametrize(
    ("canvas", "picture", "part"),
    [((64, 128), (50, 100), (1, 1)), ((64, 128), (100, 100), (0.5, 1)), ((128, 64), (100, 100), (1, 0.5))],
)
def test_a_background_is_known_by_the_part_that_has_the_canvas_aspect(canvas, picture, part):
    expected = sinusoidal(torch.tensor([0.0, 0.0, *part])).reshape(1, -1)
    assert torch.equal(background_embedding(picture, canvas), expected)

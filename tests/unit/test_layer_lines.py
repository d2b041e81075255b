"""The drawing's own lines over color that ends at them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from colorize_core.images import resize
from colorize_core.layers.lines import line_layers, line_opacity, under_lines
from colorize_core.layers.page import FARTHEST, spread

SIZES = [(1, 1), (911, 37), (64, 8192)]


def box(height: int = 96, width: int = 128, line: int = 3) -> torch.Tensor:
    """A closed box of black lines on white paper, [1,H,W,3]."""
    drawing = torch.ones(1, height, width, 3)
    top, left, bottom, right = height // 4, width // 4, 3 * height // 4, 3 * width // 4
    drawing[:, top:bottom, left:right] = 0
    drawing[:, top + line : bottom - line, left + line : right - line] = 1
    return drawing


def colored(drawing: torch.Tensor, inside, outside, scale: int = 4, shift: int = 0) -> torch.Tensor:
    """What a colorizer gives of `box`: two colors and dark, blurred lines, `scale` times smaller, moved by `shift`."""
    height, width = drawing.shape[1:3]
    picture = torch.tensor(outside).expand(1, height, width, 3).clone()
    picture[:, height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] = torch.tensor(inside)
    picture = (picture * drawing).roll((shift, shift), (1, 2)).movedim(-1, 1)
    return resize(picture, height // scale, width // scale).movedim(1, -1)


@given(seed=st.integers(0, 2**32 - 1), tinted=st.booleans())
def test_full_ink_is_the_ink_and_where_there_is_none_the_color_is_untouched(seed, tinted):
    dice = torch.Generator().manual_seed(seed)
    color = torch.rand(1, 9, 7, 3, generator=dice)
    drawing = torch.randint(0, 5, (1, 9, 7, 3 if tinted else 1), generator=dice).float().div(4).expand(-1, -1, -1, 3)
    image = under_lines(color, drawing)
    alpha = line_opacity(drawing)
    assert torch.equal(image[alpha == 1], drawing[alpha == 1])
    assert torch.equal(image[alpha == 0], color[alpha == 0])


def test_gray_ink_multiplies():
    color, drawing = torch.rand(1, 4, 4, 3), torch.full((1, 4, 4, 3), 0.25)
    assert torch.allclose(under_lines(color, drawing), color * 0.25)


def test_lines_take_another_color_and_fade():
    color, drawing, red = torch.full((1, 2, 2, 3), 0.5), torch.zeros(1, 2, 2, 3), torch.tensor([1.0, 0.0, 0.0])
    assert torch.equal(under_lines(color, drawing, red)[0, 0, 0], red)
    assert torch.equal(under_lines(color, drawing, red, opacity=0.0), color)
    assert torch.allclose(under_lines(color, drawing, red, opacity=0.5)[0, 0, 0], torch.tensor([0.75, 0.25, 0.25]))


def test_nothing_dark_stays_under_thick_lines():
    drawing = box(384, 512, line=20)
    _, color, _ = line_layers(colored(drawing, (0.9, 0.2, 0.1), (0.2, 0.6, 0.9)), drawing)
    assert color.amax(dim=-1).min() > 0.7


@pytest.mark.parametrize("shift", [0, 3])
def test_the_color_ends_at_the_lines_though_the_picture_is_blurred_and_moved(shift):
    drawing = box(192, 256)
    _, color, _ = line_layers(colored(drawing, (0.9, 0.2, 0.1), (0.2, 0.6, 0.9), shift=shift), drawing)
    paper = drawing[0, ..., 0] == 1
    inside = torch.zeros_like(paper)
    inside[48:144, 64:192] = True
    assert (color[0][paper & inside] - torch.tensor([0.9, 0.2, 0.1])).abs().max() < 0.05
    assert (color[0][paper & ~inside] - torch.tensor([0.2, 0.6, 0.9])).abs().max() < 0.05
    assert color.amax(dim=-1).min() > 0.7  # nothing dark stays under the lines


def test_far_from_lines_the_color_is_the_resized_picture():
    drawing = torch.ones(1, 160, 160, 3)
    drawing[:, :, 80:83] = 0
    image = torch.rand(1, 40, 40, 3, generator=torch.Generator().manual_seed(1))
    _, color, _ = line_layers(image, drawing)
    resized = resize(image.movedim(-1, 1), 160, 160).movedim(1, -1)
    assert torch.equal(color[:, :, : 80 - FARTHEST], resized[:, :, : 80 - FARTHEST])
    assert torch.equal(color[:, :, 83 + FARTHEST :], resized[:, :, 83 + FARTHEST :])
    assert not torch.equal(color, resized)


def test_a_drawing_larger_than_the_working_size_keeps_both_sides_of_a_line_apart():
    drawing = torch.ones(1, 40, 2304, 3)
    drawing[:, :, 1150:1156] = 0
    image = torch.zeros(1, 10, 576, 3)
    image[:, :, :288, 0] = 1
    image[:, :, 288:, 2] = 1
    _, color, lines = line_layers(image, drawing)
    assert color.shape == drawing.shape and lines.shape == (1, 40, 2304)
    assert color[:, :, :1150, 0].min() > 0.99 and color[:, :, 1156:, 0].max() < 0.01


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("tone", [0.0, 0.5, 1.0])
def test_a_blank_or_a_black_drawing_of_any_size_gives_a_result(size, tone):
    drawing = torch.full((1, *size, 3), tone)
    image, color, lines = line_layers(torch.rand(1, 8, 8, 3), drawing)
    assert image.shape == color.shape == drawing.shape and lines.shape == (1, *size)
    assert image.isfinite().all() and (lines == 1 - tone).all()


def test_inputs_stay_as_they_are_and_the_smaller_batch_repeats():
    drawings, image = box().repeat(3, 1, 1, 1), colored(box(), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
    drawings[1] = 1
    before = drawings.clone(), image.clone()
    layers = line_layers(image, drawings)
    assert [len(layer) for layer in layers] == [3, 3, 3]
    assert torch.equal(layers[0][0], layers[0][2]) and not torch.equal(layers[0][0], layers[0][1])
    assert torch.equal(drawings, before[0]) and torch.equal(image, before[1])


def test_spread_walks_around_walls_and_gives_up_after_its_steps():
    inside = np.ones((5, 7), bool)
    inside[:4, 3] = False  # a wall with a way around its lower end
    source = np.zeros((5, 7), bool)
    source[0, 2] = source[0, 6] = True
    nearest = spread(source, inside, 100)
    assert nearest[0, 4] == 6 and nearest[0, 0] == 2 and (nearest[:4, 3] == -1).all()
    assert spread(source, inside, 1)[2, 2] == -1

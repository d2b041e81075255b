"""Flat areas of one color each."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from colorize_core.images import resize
from colorize_core.layers.flats import flat_colors, flat_layers
from colorize_core.layers.palette import Palette

RED, BLUE, GREEN = (0.8, 0.2, 0.2), (0.2, 0.2, 0.8), (0.2, 0.7, 0.2)


def drawing_of_halves(size: int = 192, line: int = 4, gap: int = 0) -> torch.Tensor:
    """Paper [1,S,S,3] that a vertical line parts in two, with a gap of that many pixels in its middle."""
    drawing = torch.ones(1, size, size, 3)
    drawing[:, :, size // 2 : size // 2 + line] = 0
    drawing[:, size // 2 : size // 2 + gap, size // 2 : size // 2 + line] = 1
    return drawing


def soft_halves(size: int = 192, left=RED, right=BLUE, scale: int = 4, shift: int = 0, blotches: float = 0.0):
    """A colorizer's picture [1,s,s,3] of `drawing_of_halves`: blurred, moved, with slow blotches."""
    picture = torch.tensor(left).expand(1, size, size, 3).clone()
    picture[:, :, size // 2 + shift :] = torch.tensor(right)
    picture = resize(picture.movedim(-1, 1), size // scale, size // scale)
    noise = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * blotches
    return (picture + torch.nn.functional.interpolate(noise, picture.shape[-2:], mode="bicubic")).movedim(1, -1)


@pytest.mark.parametrize("gap", [0, 6, 16])
@pytest.mark.parametrize("shift", [0, 6])
def test_two_areas_meet_at_the_line_and_at_its_gap_though_the_picture_is_blotched_and_moved(gap, shift):
    drawing = drawing_of_halves(gap=gap)
    flats, _, palette = flat_layers(soft_halves(shift=shift, blotches=0.04), drawing)
    assert len(palette.colors) == 2
    left, right = flats[0, :, :96], flats[0, :, 100:]
    for side, color in ((left, RED), (right, BLUE)):
        own = palette.colors[(palette.colors - torch.tensor(color)).abs().sum(-1).argmin()]
        assert (own - torch.tensor(color)).abs().max() < 0.05
        assert (side == own).all(dim=-1).float().mean() > 0.99


@pytest.mark.parametrize("tone", [0.0, 0.4, 0.65])
def test_areas_end_at_gray_lines_too_among_black_ones(tone):
    drawing = drawing_of_halves()
    drawing[:, :, 96:100] = tone
    drawing[:, :4] = drawing[:, -4:] = 0
    flats, _, palette = flat_layers(soft_halves(shift=6), drawing)
    assert len(palette.colors) == 2
    assert (flats[:, 8:-8, :96] == flats[0, 96, 0]).all() and (flats[:, 8:-8, 100:] == flats[0, 96, -1]).all()


def test_without_any_line_the_colors_alone_part_the_areas():
    flats, _, palette = flat_layers(soft_halves(), torch.ones(1, 192, 192, 3))
    assert len(palette.colors) == 2
    assert (flats[0, :, :90] == flats[0, 0, 0]).all() and (flats[0, :, 102:] == flats[0, 0, -1]).all()


def test_halves_that_hardly_differ_have_one_color_of_the_palette():
    image = soft_halves(left=(0.5, 0.5, 0.5), right=(0.54, 0.54, 0.54))
    drawing = drawing_of_halves(gap=10)
    closed, _ = flat_colors(image[0].movedim(-1, 0), 1 - drawing[0, ..., 0], gap=16, palette=torch.tensor([RED, BLUE]))
    assert closed.unique().numel() == 1  # one color of the palette is nearest to both


def test_a_small_patch_survives_at_high_detail_only():
    image = torch.full((1, 48, 48, 3), 0.8)
    image[:, 20:24, 20:24] = torch.tensor([0.7, 0.8, 0.8])
    drawing = torch.ones(1, 192, 192, 3)
    colors = [len(flat_layers(image, drawing, detail=detail)[2].colors) for detail in (0.0, 1.0)]
    assert colors[0] == 1 and colors[1] >= colors[0]


def test_an_area_filled_with_ink_is_an_area_and_a_line_is_none():
    drawing = torch.ones(1, 192, 192, 3)
    drawing[:, 48:144, 48:144] = 0
    drawing[:, 170:173] = 0
    image = torch.full((1, 48, 48, 3), 0.9)
    image[:, 12:36, 12:36] = 0.1
    flats, under, palette = flat_layers(image, drawing)
    assert len(palette.colors) == 2 and flats[0, 96, 96, 0] < 0.2 and flats[0, 171].min() > 0.8
    assert (under[0, 171] == 0).all()


@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    batch=st.integers(1, 3),
    count=st.integers(0, 4),
)
def test_flats_have_only_colors_of_their_palette_and_come_out_the_same_again(seed, height, width, batch, count):
    dice = torch.Generator().manual_seed(seed)
    drawing = (torch.rand(batch, height, width, 3, generator=dice) > 0.2).float()
    image = torch.rand(1, 11, 13, 3, generator=dice)
    palette = Palette(torch.rand(count, 3, generator=dice), torch.ones(count)) if count else None
    flats, under, used = flat_layers(image, drawing, palette=palette)
    if palette is not None:
        assert torch.equal(used.colors, palette.colors)
    shares = (flats[..., None, :] == used.colors).all(dim=-1).float().mean(dim=(0, 1, 2))
    assert torch.allclose(shares, used.shares, atol=1e-5) and abs(shares.sum() - 1) < 1e-5
    again = flat_layers(image, drawing, palette=palette)
    assert torch.equal(flats, again[0]) and torch.equal(under, again[1])
    no_ink = drawing.amin(dim=-1) == 1
    assert torch.equal(under[no_ink], flats[no_ink])


@pytest.mark.parametrize("size", [(1, 1), (911, 37), (64, 8192)])
@pytest.mark.parametrize("tone", [0.0, 1.0])
def test_a_blank_or_a_black_drawing_of_any_size_gives_a_result(size, tone):
    flats, under, palette = flat_layers(torch.full((1, 8, 8, 3), 0.5), torch.full((1, *size, 3), tone))
    assert flats.shape == under.shape == (1, *size, 3) and len(palette.colors) == 1
    assert (under == (flats if tone else 0)).all()


def test_one_palette_keeps_a_characters_colors_from_frame_to_frame():
    frames = torch.cat([soft_halves(shift=shift, blotches=0.05) for shift in (0, 3, 6)])
    palette = Palette(torch.tensor([RED, GREEN, BLUE]), torch.ones(3) / 3)
    flats, _, used = flat_layers(frames, drawing_of_halves(gap=6), palette=palette)
    assert torch.equal(used.colors, palette.colors) and used.shares[1] == 0
    assert (flats[:, :, :92] == torch.tensor(RED)).all() and (flats[:, :, 104:] == torch.tensor(BLUE)).all()


def test_a_large_drawings_flats_end_at_its_lines_to_the_pixel():
    drawing = torch.ones(1, 64, 2304, 3)
    drawing[:, :, 1150:1158] = 0
    image = torch.zeros(1, 16, 576, 3)
    image[:, :, :288], image[:, :, 288:] = torch.tensor(RED), torch.tensor(BLUE)
    flats, _, palette = flat_layers(image, drawing)
    assert len(palette.colors) == 2
    assert (flats[:, :, :1150] == flats[0, 0, 0]).all() and (flats[:, :, 1158:] == flats[0, 0, -1]).all()

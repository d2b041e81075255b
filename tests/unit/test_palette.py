"""Palettes from pictures and hex codes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from colorize_core.layers.palette import colors_from_hex, hex_code, nearest_color, one_color, palette_of, swatches

NONE = torch.zeros(0, 3)


def opaque(image: torch.Tensor) -> torch.Tensor:
    return torch.cat([image, torch.ones_like(image[..., :1])], dim=-1)


def stripes(*colors: str) -> torch.Tensor:
    """A picture [1,1,N,4] with a pixel of each color."""
    return opaque(colors_from_hex(" ".join(colors), "hex")[None, None])


@given(st.integers(0, 0xFFFFFF))
def test_hex_codes_come_back_as_they_went_in(number):
    code = f"#{number:06x}"
    assert hex_code(colors_from_hex(code, "hex")[0]) == code


def test_hex_codes_may_be_short_and_parted_in_any_way():
    assert torch.equal(colors_from_hex("#F00, 00ff00;\n #00F", "hex"), torch.eye(3))
    assert len(colors_from_hex("  \n", "hex")) == 0


@pytest.mark.parametrize("text", ["red", "#12345", "ff0000 zzz", "#"])
def test_what_is_no_color_is_refused_in_a_sentence(text):
    with pytest.raises(ValueError, match=r"^hex: .* is no color\. Write colors as #rrggbb"):
        colors_from_hex(text, "hex")


@pytest.mark.parametrize("text", ["", "#000 #fff"])
def test_one_color_is_one(text):
    with pytest.raises(ValueError, match=r"^line_color: .* is not one color"):
        one_color(text, "line_color")


def test_a_picture_of_few_colors_gives_exactly_those_by_share():
    picture = stripes("#112233", "#ffeedd", "#112233", "#112233", "#00ff00", "#ffeedd")
    palette = palette_of(picture, 8, NONE)
    assert [hex_code(color) for color in palette.colors] == ["#112233", "#ffeedd", "#00ff00"]
    assert torch.allclose(palette.shares, torch.tensor([3, 2, 1]) / 6)


def test_a_noisy_picture_gives_the_colors_beneath_the_noise():
    colors = torch.tensor([[0.9, 0.2, 0.2], [0.2, 0.8, 0.3], [0.1, 0.2, 0.7]])
    parts = torch.tensor([0] * 600 + [1] * 300 + [2] * 100)
    noise = torch.randn(1, 1, 1000, 3, generator=torch.Generator().manual_seed(0)) * 0.02
    palette = palette_of(opaque(colors[parts] + noise), 3, NONE)
    assert (palette.colors - colors).abs().max() < 0.02
    assert torch.allclose(palette.shares, torch.tensor([0.6, 0.3, 0.1]), atol=0.01)


def test_given_colors_come_first_and_stay_exact_and_are_not_found_again():
    given_colors = colors_from_hex("#00ff00 #112233", "hex")
    palette = palette_of(stripes("#112233", "#ffeedd", "#ffeedd"), 3, given_colors)
    assert [hex_code(color) for color in palette.colors] == ["#00ff00", "#112233", "#ffeedd"]
    assert palette.shares[0] == 0 and abs(palette.shares.sum() - 1) < 1e-6
    assert torch.equal(palette_of(stripes("#ffeedd"), 1, given_colors).colors, given_colors)


def test_without_a_picture_the_given_colors_are_the_palette():
    palette = palette_of(None, 8, torch.eye(3))
    assert torch.equal(palette.colors, torch.eye(3)) and torch.allclose(palette.shares, torch.full((3,), 1 / 3))
    with pytest.raises(ValueError, match=r"^image: there is neither"):
        palette_of(None, 8, NONE)


def test_what_is_transparent_is_not_looked_at():
    picture = stripes("#112233", "#ffeedd")
    picture[..., 0, 3] = 0
    assert [hex_code(color) for color in palette_of(picture, 8, NONE).colors] == ["#ffeedd"]
    with pytest.raises(ValueError, match=r"^image: all of it is covered"):
        palette_of(picture[..., :1, :], 8, NONE)


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 64))
def test_any_picture_gives_a_palette_of_at_most_so_many_colors_the_same_again(seed, count):
    picture = opaque(torch.rand(1, 9, 9, 3, generator=torch.Generator().manual_seed(seed)))
    palette = palette_of(picture, count, NONE)
    assert 1 <= len(palette.colors) <= count and abs(palette.shares.sum() - 1) < 1e-5
    assert (palette.shares[:-1] >= palette.shares[1:]).all()
    assert torch.equal(palette.colors, palette_of(picture, count, NONE).colors)


def test_the_nearest_color_is_the_one_that_looks_nearest():
    # in RGB the dark blue is nearer to black than to the bright one; to the eye both are blue
    palette = torch.tensor([[0.0, 0.0, 0.0], [0.2, 0.3, 1.0]]).numpy()
    assert nearest_color(torch.tensor([[0.1, 0.1, 0.5]]).numpy(), palette)[0] == 1


def test_swatches_show_each_color():
    palette = palette_of(stripes("#112233", "#ffeedd"), 8, NONE)
    picture = swatches(palette)
    assert picture.shape[0] == 1 and picture.shape[-1] == 3
    for color in palette.colors:
        assert (picture == color).all(dim=-1).any()

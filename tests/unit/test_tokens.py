import pytest
import torch

from colorize_core.tokens import ReferenceTokens, Region, preprocess


def plain(image: torch.Tensor, size: int = 14) -> torch.Tensor:
    return preprocess(image, size, mean=[0.0] * 3, std=[1.0] * 3)


def test_overshoot_of_the_resampling_is_kept():
    edge = torch.zeros(1, 4, 4, 3)
    edge[:, :, 2:] = 1.0
    out = plain(edge)
    assert out.min() < 0 and out.max() > 1


def test_a_reference_is_squashed_not_cropped():
    wide = torch.zeros(1, 20, 400, 3)
    wide[:, :, :40] = 1.0
    out = plain(wide)
    assert out[..., 0].min() > 0.9 and out[..., -1].max() < 0.1


def test_transparent_parts_of_a_reference_show_white():
    assert torch.allclose(plain(torch.zeros(1, 5, 5, 4)), torch.ones(1, 3, 14, 14))


def test_gray_references_have_three_equal_channels():
    gray = torch.rand(2, 9, 7, 1)
    assert torch.equal(plain(gray), plain(gray.expand(-1, -1, -1, 3)))


@pytest.mark.parametrize("shape", [(1, 1), (37, 911), (2048, 64)])
def test_any_size_of_reference_works(shape):
    out = plain(torch.rand(3, *shape, 3))
    assert out.shape == (3, 3, 14, 14) and out.isfinite().all()


def test_a_reference_with_nan_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        plain(torch.full((1, 4, 4, 3), float("nan")))


@pytest.mark.parametrize(
    ("cls", "local", "tagger"),
    [
        ((1, 1, 8), (1, 16, 9), None),
        ((1, 2, 8), (1, 16, 8), None),
        ((1, 8), (1, 16, 8), None),
        ((2, 1, 8), (1, 16, 8), None),
        ((1, 1, 8), (1, 16, 8), (2, 4, 3)),
    ],
)
def test_tokens_of_shapes_that_do_not_belong_together_are_refused(cls, local, tagger):
    tagger = None if tagger is None else torch.zeros(tagger)
    with pytest.raises(ValueError, match=r"^tokens: their shapes are .* Connect Encode Reference\.$"):
        ReferenceTokens(torch.zeros(cls), torch.zeros(local), tagger)


def test_what_is_no_tensor_is_no_part_of_tokens():
    with pytest.raises(ValueError, match=r"^tokens: their shapes are \[\], \[1, 16, 8\]"):
        ReferenceTokens("a text", torch.zeros(1, 16, 8))
    tokens = ReferenceTokens(torch.zeros(1, 1, 8), torch.zeros(1, 16, 8))
    for mask in (torch.zeros(8, 8), torch.zeros(1, 1, 8, 8), None):
        with pytest.raises(ValueError, match=r"^mask: that of a region has the shape .* Connect Region Reference\.$"):
            Region(tokens, mask)

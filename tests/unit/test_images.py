import pytest
import torch

from colorize_core.images import masked, rgb_on


def test_a_picture_without_a_mask_is_itself():
    image = torch.rand(1, 4, 4, 3)
    assert masked(image, None, "image") is image


@pytest.mark.parametrize("channels", [1, 3])
def test_what_a_mask_covers_is_transparent(channels):
    image, mask = torch.rand(2, 4, 6, channels), torch.rand(2, 4, 6)
    out = masked(image, mask, "image")
    assert torch.equal(out[..., :3], image.expand(-1, -1, -1, 3))
    torch.testing.assert_close(out[..., 3], 1 - mask)


def test_a_mask_adds_to_the_transparency_that_there_is():
    image, mask = torch.rand(1, 4, 4, 4), torch.rand(1, 4, 4)
    torch.testing.assert_close(masked(image, mask, "image")[..., 3], image[..., 3] * (1 - mask))


def test_the_small_empty_mask_of_an_opaque_picture_changes_nothing():
    image = torch.rand(3, 100, 37, 3)
    assert torch.equal(rgb_on(masked(image, torch.zeros(1, 64, 64), "image"), 1.0, "image"), image)


def test_a_mask_of_another_size_is_stretched_and_fewer_masks_repeat():
    mask = torch.zeros(2, 8, 8)
    mask[1, :, :4] = 1.0
    opaque = masked(torch.rand(4, 40, 20, 3), mask, "image")[..., 3]
    assert opaque[[0, 2]].min() == 1 and torch.equal(opaque[1], opaque[3])
    assert opaque[1, :, :8].max() == 0 and opaque[1, :, 12:].min() == 1


@pytest.mark.parametrize("mask", [torch.full((1, 4, 4), float("nan")), torch.zeros(5), torch.zeros(0, 4, 4)])
def test_a_broken_mask_is_named(mask):
    with pytest.raises(ValueError, match=r"^mask: "):
        masked(torch.rand(1, 4, 4, 3), mask, "image")

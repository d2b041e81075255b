import pytest
import torch

from colorize_core.images import checked_mask, masked, rgb_on


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


def test_more_masks_than_pictures_give_a_picture_each():
    image, mask = torch.rand(1, 4, 4, 3), torch.rand(2, 4, 4)
    out = masked(image, mask, "image")
    assert torch.equal(out[..., :3], image.expand(2, -1, -1, -1))
    torch.testing.assert_close(out[..., 3], 1 - mask)


def test_what_lies_outside_0_to_1_is_clamped():
    image, mask = torch.tensor([-0.5, 0.5, 1.5]).expand(1, 1, 3, 3), torch.tensor([[[-1.0, 0.5, 3.0]]])
    assert torch.equal(masked(image, mask, "image")[0, 0, :, 3], torch.tensor([1.0, 0.5, 0.0]))
    assert rgb_on(image, 1.0, "image").unique().tolist() == [0.0, 0.5, 1.0]
    overdrawn = torch.tensor([0.5, 0.5, 0.5, 2.0]).expand(1, 1, 1, 4)
    assert rgb_on(overdrawn, 1.0, "image").unique().item() == 0.5


@pytest.mark.parametrize(
    "mask",
    [
        torch.full((1, 4, 4), float("nan")),
        torch.tensor([[[0.0, float("inf")]]]),
        torch.zeros(5),
        torch.zeros(0, 4, 4),
        torch.zeros(1, 0, 4),
        torch.zeros(1, 4, 4, 3),
        torch.zeros(1, 4, 4, dtype=torch.complex64),
    ],
)
def test_a_broken_mask_is_named(mask):
    for use in (lambda: masked(torch.rand(1, 4, 4, 3), mask, "image"), lambda: checked_mask(mask, "mask")):
        with pytest.raises(ValueError, match=r"^mask: .* (Give|Look)"):
            use()


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.float64])
def test_masks_of_any_type_are_floats(dtype):
    for mask in (torch.tensor([[0, 1]]), torch.tensor([[[0, 1]]]), torch.tensor([[[[0, 1]]]])):
        out = checked_mask(mask.to(dtype), "mask")
        assert out.dtype == torch.float32 and out.tolist() == [[[0.0, 1.0]]]


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (torch.full((1, 4, 4, 3), 255.0), r"from 255 to 255\. Scale them to 0\.\.1"),
        (torch.full((1, 4, 4, 3), -1e38), r"from -1e\+38"),
        (torch.zeros(1, 4, 4, 3, dtype=torch.uint8), r"torch\.uint8\. Give them as float32"),
        (torch.zeros(1, 4, 4, 3, dtype=torch.complex64), r"torch\.complex64"),
    ],
)
def test_values_that_are_no_colors_are_refused(image, says):
    with pytest.raises(ValueError, match=f"^image: .*{says}"):
        rgb_on(image, 1.0, "image")


def test_pictures_brighter_than_white_are_clamped():
    assert rgb_on(torch.full((1, 4, 4, 3), 99.0), 1.0, "image").max() == 1

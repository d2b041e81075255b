import pytest
import torch

from colorize_core.figure import Figure, figure_weights, latent_mask, resize_mask, stretch, without_figure
from colorize_core.tokens import ReferenceTokens, Region


def weights(merging=0.0, foreground=1.0, background=1.0):
    """((weight of the figure's tokens in the figure, outside), (the same of the background's))."""
    figure = torch.tensor([True, False]).reshape(1, 1, 1, 2)
    numbers = (torch.tensor([number]) for number in (merging, foreground, background))
    return [tuple(weight.flatten().tolist()) for weight in figure_weights(figure, *numbers).unbind(dim=1)]


def test_figure_and_background_are_apart():
    assert weights() == [(1, 0), (0, 1)]


def test_merging_brings_the_background_into_the_figure():
    assert weights(merging=0.25) == [(0.75, 0), (0.25, 1)]


def test_strengths_scale_the_tokens_wherever_they_count():
    assert weights(merging=0.5, foreground=0.5, background=0.25) == [(0.25, 0), (0.125, 0.25)]


def test_a_mask_is_placed_as_the_drawing_is_and_nothing_lies_outside():
    mask = torch.ones(1, 64, 64)  # square, on a canvas twice as wide: a quarter of it is empty on either side
    latent = latent_mask(mask, 8, 16)
    assert latent.shape == (1, 1, 8, 16)
    assert latent[..., :3].abs().max() < 0.2 and latent[..., 13:].abs().max() < 0.2
    assert (latent[..., 5:11] - 1).abs().max() < 1e-5


def test_a_mask_of_the_canvas_size_is_taken_as_it_is():
    mask = torch.rand(2, 64, 128)
    expected = torch.nn.functional.interpolate(mask[:, None], scale_factor=1 / 8, mode="bicubic")
    assert torch.equal(latent_mask(mask, 8, 16), expected)
    assert torch.equal(resize_mask(expected, (8, 16)), expected)


def test_the_figure_turns_white_where_the_mask_is_not_below_the_threshold():
    image, mask = torch.full((1, 2, 3, 3), 0.25), torch.tensor([[[0.0, 0.49, 0.5], [1.0, 0.2, 0.7]]])
    painted = without_figure(image, mask, 0.5, "reference_mask")
    assert torch.equal(painted[0, ..., 0], torch.tensor([[0.25, 0.25, 1.0], [1.0, 0.25, 1.0]]))


def test_fewer_masks_or_pictures_repeat_and_a_mask_of_another_size_is_stretched():
    images, mask = torch.zeros(3, 8, 8, 3), torch.ones(1, 2, 4)
    assert without_figure(images, mask, 0.5, "mask").eq(1).all()
    assert without_figure(images[:1], mask.expand(2, -1, -1), 0.5, "mask").shape == (2, 8, 8, 3)


def test_a_mask_of_nothing_that_can_be_used_is_named():
    with pytest.raises(ValueError, match="reference_mask: it holds values that are not numbers"):
        without_figure(torch.zeros(1, 2, 2, 3), torch.full((1, 2, 2), torch.inf), 0.5, "reference_mask")


def test_pictures_are_stretched_to_the_canvas_without_being_cropped():
    image = torch.zeros(1, 4, 4, 3)
    image[:, :, 2:] = 1
    stretched = stretch(image, 8, 32)
    assert stretched.shape == (1, 8, 32, 3)
    assert stretched[:, :, :8].abs().max() < 0.2 and (stretched[:, :, 24:] - 1).abs().max() < 0.2


def test_regions_and_a_figure_exclude_each_other():
    tokens = ReferenceTokens(torch.zeros(1, 1, 4), torch.zeros(1, 2, 4))
    region = Region(tokens, torch.ones(1, 8, 8))
    with pytest.raises(ValueError, match="both regions and a figure"):
        ReferenceTokens(tokens.cls, tokens.local, regions=(region,), figure=Figure())


def test_parts_of_a_figure_have_their_dimensions():
    with pytest.raises(ValueError, match=r"^tokens: background_latent of their figure has the shape \[4, 8, 8\]"):
        Figure(background_latent=torch.zeros(4, 8, 8))
    with pytest.raises(ValueError, match=r"^tokens: sketch_mask of their figure has the shape \[\]"):
        Figure(sketch_mask=3)

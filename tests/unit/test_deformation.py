from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from colorize_core.training.deformation import (
    Deformation,
    deform,
    flip_rotate_crop,
    shuffle_patches,
    thin_plate_spline,
    warp,
)

OFF = Deformation(warp=0, flip=0, rotation=0, crop=1, shuffle=0)
EVERYTHING = Deformation(warp=0.3, flip=0.5, rotation=90, crop=0.5, shuffle=0.5, patches=3)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(batch: int, height: int, width: int) -> torch.Tensor:
    """Pictures in [-1,1] that reach both ends of the range."""
    return torch.rand(batch, 3, height, width, generator=seeded(1)).mul(2).sub(1).mul(1.2).clamp(-1, 1)


def places(height: int, width: int) -> torch.Tensor:
    """A picture [1,2,H,W] whose colors say where its pixels lie: (x, y) in half sides."""
    x, y = ((2 * torch.arange(side) + 1) / side - 1 for side in (width, height))
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)])[None]


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 40), st.integers(2, 40), st.integers(2, 5))
def test_a_plate_that_is_not_bent_is_the_picture(height, width, n):
    picture = noise(2, height, width)
    assert torch.allclose(warp(picture, torch.zeros(2, n, n, 2)), picture, atol=1e-4)


def test_control_points_land_where_they_should():
    displacement = torch.rand(2, 5, 5, 2, generator=seeded()) * 0.5 - 0.25
    bent = warp(places(18, 18).expand(2, -1, -1, -1), displacement)  # the inner points at +-1/2 are pixels 4 and 13
    for row in (0, 1):
        for i, pixel_y, y in ((1, 4, -0.5), (3, 13, 0.5)):
            for j, pixel_x, x in ((1, 4, -0.5), (3, 13, 0.5)):
                shown = torch.tensor([x, y]) + displacement[row, i, j]
                assert torch.allclose(bent[row, :, pixel_y, pixel_x], shown, atol=1e-5)


def test_displacements_that_are_an_affine_map_bend_nothing_between_them():
    grid = torch.linspace(-1, 1, 4)
    control = torch.stack(torch.meshgrid(grid, grid, indexing="xy"), -1)[None]
    matrix, shift = torch.tensor([[-0.3, 0.1], [0.05, -0.2]]), torch.tensor([0.05, -0.1])
    picture = places(20, 30)
    expected = picture + torch.einsum("ij,bjhw->bihw", matrix, picture) + shift[None, :, None, None]
    assert torch.allclose(warp(picture, control @ matrix.mT + shift), expected, atol=1e-5)


def test_the_spline_moves_control_points_by_at_most_its_strength():
    moved = thin_plate_spline(places(18, 18).expand(200, -1, -1, -1), 0.1, 5, seeded()) - places(18, 18)
    far = moved[:, :, [4, 4, 13, 13], [4, 13, 4, 13]].abs().max()  # the inner control points, in half sides
    assert 0.15 < far <= 0.2 + 1e-5


def test_flip_mirrors_left_and_right():
    picture = noise(2, 6, 10)
    assert torch.allclose(flip_rotate_crop(picture, 1, 0, 1, seeded()), picture.flip(-1), atol=1e-4)


def test_flip_happens_with_its_probability():
    picture = noise(1, 6, 10).expand(400, -1, -1, -1)
    kept = (flip_rotate_crop(picture, 0.25, 0, 1, seeded()) - picture).abs().flatten(1).amax(1) < 1e-4
    assert 0.68 < kept.float().mean() < 0.82


def test_rotation_turns_without_shearing_a_picture_that_is_not_square():
    height, width, angle = 30, 60, 25
    picture = places(height, width).expand(50, -1, -1, -1)
    turned = flip_rotate_crop(picture, 0, angle, 1, seeded()) * torch.tensor([width, height])[:, None, None] / 2
    right = turned[:, :, 15, 31] - turned[:, :, 15, 30]  # how far a step of one pixel goes in the picture
    down = turned[:, :, 16, 30] - turned[:, :, 15, 30]
    assert torch.allclose(right.norm(dim=1), torch.ones(50), atol=1e-4)
    assert torch.allclose(down.norm(dim=1), torch.ones(50), atol=1e-4)
    assert (right * down).sum(1).abs().max() < 1e-4
    angles = torch.rad2deg(torch.atan2(right[:, 1], right[:, 0]))
    assert angles.abs().max() < angle + 0.01 and angles.min() < -20 and angles.max() > 20


def test_rotation_turns_what_a_squashed_picture_shows_without_shearing_it():
    side, aspect = 40, 2.0  # squares of pixels that show twice as much across
    picture = places(side, side).expand(50, -1, -1, -1)
    turned = flip_rotate_crop(picture, 0, 25, 1, seeded(), aspect) * torch.tensor([aspect, 1.0])[:, None, None]
    right = turned[:, :, 20, 21] - turned[:, :, 20, 20]
    down = turned[:, :, 21, 20] - turned[:, :, 20, 20]
    assert torch.allclose(right.norm(dim=1) / down.norm(dim=1), torch.full((50,), aspect), atol=1e-3)
    assert (right * down).sum(1).abs().max() < 1e-4


def test_a_crop_keeps_a_window_of_the_picture():
    picture = places(20, 40).expand(100, -1, -1, -1)
    cropped = flip_rotate_crop(picture, 0, 0, 0.6, seeded())
    kept = torch.stack(
        [(cropped[:, 0, 10, 21] - cropped[:, 0, 10, 20]) * 20, (cropped[:, 1, 11, 5] - cropped[:, 1, 10, 5]) * 10]
    )
    assert torch.allclose(kept[0], kept[1], atol=1e-4), "the aspect ratio is kept"
    assert kept.min() > 0.6 - 1e-4 and kept.max() < 1 + 1e-4 and kept.min() < 0.65 and kept.max() > 0.95
    steps = cropped[:, 0, :, 1:] - cropped[:, 0, :, :-1]
    assert steps[..., 1:-1].min() > 0, "a window inside the picture is not reflected"


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(5, 23), st.integers(5, 23), st.integers(0, 1000))
def test_shuffling_permutes_patches_and_leaves_the_rest(patches, height, width, seed):
    picture = noise(2, height, width)
    shuffled = shuffle_patches(picture, patches, seeded(seed))
    h, w = height // patches, width // patches

    def cut(image):
        pieces = (image[:, i * h : (i + 1) * h, j * w : (j + 1) * w] for i in range(patches) for j in range(patches))
        return Counter(piece.numpy().tobytes() for piece in pieces)

    assert [cut(image) for image in shuffled] == [cut(image) for image in picture]
    assert torch.equal(shuffled[..., h * patches :, :], picture[..., h * patches :, :])
    assert torch.equal(shuffled[..., w * patches :], picture[..., w * patches :])


def test_each_picture_is_shuffled_in_its_own_order():
    picture = noise(1, 16, 16).expand(2, -1, -1, -1)
    first, second = shuffle_patches(picture, 4, seeded())
    assert not torch.equal(first, second) and not torch.equal(first, picture[0])


def test_more_patches_than_pixels_is_an_error():
    with pytest.raises(ValueError, match="reference: 8x3 pixels cannot be cut into 4 patches per side"):
        shuffle_patches(noise(1, 3, 8), 4, seeded())


def test_with_everything_off_the_reference_stays():
    picture = noise(3, 17, 24)
    assert torch.allclose(deform(picture, OFF, seeded()), picture, atol=1e-4)


@settings(max_examples=15, deadline=None)
@given(st.integers(3, 40), st.integers(3, 40), st.integers(0, 1000))
def test_deformed_references_are_finite_pictures_of_the_same_size(height, width, seed):
    picture = noise(2, height, width)
    before = picture.clone()
    deformed = deform(picture, EVERYTHING, seeded(seed))
    assert deformed.shape == picture.shape and deformed.isfinite().all() and deformed.abs().max() <= 1 + 1e-5
    assert torch.equal(picture, before)


def test_the_same_seed_gives_the_same_deformation_and_another_seed_another():
    picture = noise(2, 24, 32)
    first, again, other = (deform(picture, Deformation(), seeded(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again) and (first - other).abs().max() > 0.1
    assert (first - picture).abs().mean() > 0.1


def test_a_share_of_the_references_is_shuffled():
    picture = noise(1, 16, 16).expand(300, -1, -1, -1)
    half = Deformation(warp=0, flip=0, rotation=0, crop=1, shuffle=0.5)
    kept = (deform(picture, half, seeded()) - picture).abs().flatten(1).amax(1) < 1e-4
    assert 0.4 < kept.float().mean() < 0.6


@pytest.mark.parametrize(
    "setting",
    [
        {"warp": 0.6},
        {"control_points": 1},
        {"flip": -0.1},
        {"rotation": 181},
        {"crop": 0},
        {"shuffle": float("nan")},
        {"patches": 0},
    ],
)
def test_a_setting_out_of_range_is_an_error_that_names_it(setting):
    (name,) = setting
    with pytest.raises(ValueError, match=f"^{name}: .* Set it"):
        Deformation(**setting)


def test_a_reference_too_small_to_shuffle_is_fine_when_nothing_is_shuffled():
    assert deform(noise(1, 3, 3), Deformation(shuffle=0, patches=4), seeded()).shape == (1, 3, 3, 3)


def test_what_lies_outside_the_picture_is_its_reflection_and_not_gray():
    white = torch.ones(8, 3, 16, 24)
    assert torch.allclose(deform(white, EVERYTHING, seeded()), white, atol=1e-5)

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from colorize_core.images import same_aspect
from colorize_core.sketch import Sketch, crop_to, fit, has_lines, place, sketch_from_image, white_on_black

sides = st.integers(1, 5000)
canvas_sides = st.integers(1, 32).map(lambda n: 64 * n)


def drawing(paper: float, ink: float, height: int = 8, width: int = 8) -> torch.Tensor:
    """[1,height,width,3]: one line of ink across paper."""
    image = torch.full((1, height, width, 3), paper)
    image[:, height // 2] = ink
    return image


# Polarity


def test_a_drawing_on_white_paper_is_inverted():
    out = white_on_black(drawing(paper=1.0, ink=0.0))
    assert torch.equal(out[0, 4], torch.ones(8)) and out[0, 0].max() == 0


def test_white_lines_on_black_stay_as_they_are():
    image = drawing(paper=0.0, ink=1.0)
    assert torch.equal(white_on_black(image), image[..., 0])


def test_polarity_set_by_hand_is_obeyed():
    image = drawing(paper=1.0, ink=0.0)
    assert torch.equal(white_on_black(image, "white lines on black"), image[..., 0])
    assert torch.equal(white_on_black(image, "black lines on white"), 1 - image[..., 0])


@pytest.mark.parametrize(
    ("polarity", "ink"), [("auto", 0.0), ("black lines on white", 0.0), ("white lines on black", 1.0)]
)
def test_transparent_parts_count_as_paper(polarity, ink):
    image = torch.full((1, 8, 8, 4), ink)
    image[..., 3] = 0.0
    image[:, 4, :, 3] = 1.0
    out = white_on_black(image, polarity)
    assert out[0, 4].min() == 1 and out[0, 0].max() == 0


def test_light_lines_on_a_transparent_ground_are_lines():
    dark, light = drawing(1.0, 0.0), drawing(1.0, 0.9)
    alpha = torch.zeros(1, 8, 8, 1)
    alpha[:, 4] = 1.0
    out = white_on_black(torch.cat([torch.cat([image, alpha], dim=-1) for image in (dark, light)]))
    assert out[:, 0].max() == 0
    torch.testing.assert_close(out[:, 4], torch.tensor([1.0, 0.9])[:, None].expand(2, 8))


def test_a_light_figure_with_dark_lines_on_a_transparent_ground_is_white_inside():
    image = torch.zeros(1, 8, 8, 4)
    image[:, 3:6, 3:6] = 1.0
    image[:, 3, 3:6, :3] = 0.0
    out = white_on_black(image)
    assert out[0, 3, 3:6].min() == 1 and out.sum() == 3


def test_each_picture_of_a_batch_is_judged_on_its_own():
    first, second = white_on_black(torch.cat([drawing(1.0, 0.0), drawing(0.0, 1.0)]))
    assert torch.equal(first, second)


def test_a_gray_picture_of_one_channel_is_a_drawing_too():
    image = drawing(paper=1.0, ink=0.0)
    assert torch.equal(white_on_black(image[..., :1]), white_on_black(image))


def test_gray_all_over_is_an_error_that_says_what_to_do():
    gray = torch.full((1, 8, 8, 3), 0.5)
    with pytest.raises(ValueError, match="polarity by hand"):
        white_on_black(gray)
    assert white_on_black(gray, "white lines on black").mean() == 0.5


@pytest.mark.parametrize(("tone", "is_clear"), [(0.475, True), (0.485, False), (0.515, False), (0.525, True)])
def test_paper_is_told_from_ink_where_the_typical_tone_is_a_fiftieth_from_half_gray(tone, is_clear):
    image = drawing(paper=tone, ink=tone)
    if is_clear:
        white_on_black(image)
    else:
        with pytest.raises(ValueError, match="most of it is half gray"):
            white_on_black(image)


@pytest.mark.parametrize(
    ("opacity", "columns", "is_ground"),
    [(0.45, 5, True), (0.55, 5, False), (0.0, 3, False), (0.0, 5, True)],
    ids=["faint ground", "hardly faint ground", "ground on the smaller part", "ground on the larger part"],
)
def test_the_ground_is_transparent_where_most_of_it_is_by_more_than_half(opacity, columns, is_ground):
    image = torch.full((1, 8, 8, 4), 1.0)  # white lines
    image[:, :, :columns, 3] = opacity
    lines_are_white = white_on_black(image)[0, 0, -1] == 1
    assert lines_are_white == is_ground


@pytest.mark.parametrize(("difference", "is_drawn"), [(0.018, False), (0.022, True)])
def test_a_line_differs_from_its_paper_by_a_fiftieth(difference, is_drawn):
    lines = torch.zeros(2, 8, 8)
    lines[0], lines[1, 4] = 1.0, difference
    assert has_lines(lines).tolist() == [True, is_drawn]


# What is refused


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (torch.full((1, 4, 4, 3), float("nan")), "NaN"),
        (torch.full((1, 4, 4, 3), float("inf")), "NaN or infinity"),
        (torch.zeros(1, 4, 4, 2), "channels"),
        (torch.zeros(4, 4, 3), "batch of pictures"),
        (torch.zeros(1, 0, 4, 3), "no pixel"),
        (torch.zeros(0, 4, 4, 3), "no pixel"),
    ],
)
def test_a_picture_that_cannot_be_used_is_refused_in_a_sentence(image, says):
    for use in (white_on_black, sketch_from_image, lambda bad: crop_to(torch.zeros(1, 4, 4, 3), bad)):
        with pytest.raises(ValueError, match=says):
            use(image)


# Sketch


def test_lines_become_plus_one_and_paper_minus_one():
    sketch = sketch_from_image(drawing(paper=0.0, ink=1.0), strength=0.5)
    assert sketch.pixels.shape == (1, 3, 8, 8) and sketch.strength == 0.5
    assert (sketch.pixels[:, :, 4] == 1).all() and (sketch.pixels[:, :, 0] == -1).all()


def test_color_stays_in_a_sketch_and_overshoot_is_clamped():
    image = torch.tensor([1.2, 0.5, -0.2]).expand(1, 2, 2, 3)
    assert sketch_from_image(image).pixels[0, :, 0, 0].tolist() == [1.0, 0.0, -1.0]


def test_transparent_parts_of_a_sketch_are_black_paper():
    assert (sketch_from_image(torch.cat([torch.ones(1, 2, 2, 3), torch.zeros(1, 2, 2, 1)], -1)).pixels == -1).all()


# Fit and crop


@given(sides, sides, canvas_sides, canvas_sides)
def test_a_fitted_drawing_touches_its_canvas_and_keeps_its_aspect_ratio(height, width, canvas_height, canvas_width):
    box = fit(height, width, canvas_height, canvas_width)
    assert box.height == canvas_height or box.width == canvas_width
    assert 1 <= box.height <= canvas_height and 1 <= box.width <= canvas_width
    scale = min(canvas_height / height, canvas_width / width)
    assert abs(box.height - height * scale) <= 1 and abs(box.width - width * scale) <= 1


@given(sides, sides, canvas_sides, canvas_sides)
def test_a_fitted_drawing_is_centered(height, width, canvas_height, canvas_width):
    box = fit(height, width, canvas_height, canvas_width)
    below, right = canvas_height - box.top - box.height, canvas_width - box.left - box.width
    assert below - box.top in (0, 1) and right - box.left in (0, 1)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([64, 128, 192]), st.sampled_from([64, 128, 192]))
def test_crop_takes_away_the_padding_exactly(height, width, canvas_height, canvas_width):
    ink = torch.ones(1, height, width, 3)
    canvas = place(ink[..., 0], canvas_height, canvas_width)
    part = crop_to(canvas[..., None], ink)
    assert part.min() > 0.99 and part.numel() == (canvas > 0.5).sum()


@given(sides, sides, canvas_sides, canvas_sides, st.integers(2, 4))
def test_crop_of_an_upscaled_result_is_off_by_less_than_a_pixel_of_the_canvas(height, width, rows, columns, factor):
    small, large = fit(height, width, rows, columns), fit(height, width, factor * rows, factor * columns)
    for name in ("top", "left", "height", "width"):
        assert abs(getattr(large, name) - factor * getattr(small, name)) <= factor


def test_a_drawing_of_the_canvas_size_is_not_resampled():
    lines = torch.rand(2, 64, 128)
    assert torch.equal(place(lines, 64, 128), lines)


def test_the_drawing_itself_is_left_alone():
    lines = torch.rand(1, 37, 91)
    before = lines.clone()
    place(lines, 64, 64).zero_()
    assert torch.equal(lines, before)


def test_cropped_results_come_at_the_drawings_size_when_asked():
    out = crop_to(torch.rand(2, 128, 128, 3), torch.zeros(1, 37, 91, 3), resize_to_sketch=True)
    assert out.shape == (2, 37, 91, 3) and out.min() >= 0 and out.max() <= 1


def test_results_in_half_precision_are_resized_too():
    out = crop_to(torch.rand(1, 64, 64, 3).half(), torch.zeros(1, 37, 91, 3), resize_to_sketch=True)
    assert out.shape == (1, 37, 91, 3) and out.dtype == torch.float16


def test_a_thin_line_keeps_its_ink_through_a_strong_reduction():
    lines = torch.zeros(1, 4096, 64)
    lines[:, :, 32] = 1
    assert place(lines, 512, 512).sum(dim=-1).min() > 1 / 8 - 1e-4


# Aspect ratio


@pytest.mark.parametrize("width", [333, 400, 777])
@pytest.mark.parametrize("multiple", [1, 8, 64])
@pytest.mark.parametrize("scale", [0.5, 1.0, 1.7])
def test_a_scaled_size_is_of_the_same_aspect_however_it_is_rounded(width, multiple, scale):
    scaled = tuple(round(side * scale / multiple) * multiple for side in (512, width))
    assert same_aspect((512, width), scaled)


@pytest.mark.parametrize("other", [(512, 768), (512, 640), (768, 512), (1024, 512)])
def test_a_square_is_of_another_aspect_than_a_rectangle(other):
    assert not same_aspect((512, 512), other) and not same_aspect(other, (512, 512))


def test_a_single_pixel_is_of_the_aspect_of_a_square_alone():
    assert same_aspect((1, 1), (512, 512)) and not same_aspect((1, 1), (512, 768))


# What a sketch is


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 1, 8, 8), (1, 8, 8, 3)])
def test_a_sketch_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"^sketch: its shape is .* Connect Encode Sketch\.$"):
        Sketch(torch.zeros(shape))

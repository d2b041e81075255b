"""A thousand hostile cases in a process that is watched, and the judge and the watch themselves."""

import pytest
import torch

from tests.hostile.judge import why_bad_error, why_bad_result
from tests.hostile.watch import watch

CASES, SEED = 1000, 20


def test_no_hostile_case_ends_badly():
    bad_ends = watch(CASES, SEED)
    assert not bad_ends, "\n".join(map(str, bad_ends))


@pytest.mark.parametrize(
    "error",
    [
        ValueError("image: it is empty. Give a picture."),
        MemoryError("Colorize: there is not enough memory for its image. Make smaller pictures."),
    ],
)
def test_a_sentence_that_names_the_input_and_says_what_to_do_is_a_good_end(error):
    assert why_bad_error(error, ["image"]) is None


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), "RuntimeError is no sentence"),
        (AttributeError("'str' object has no attribute 'ndim' in image. Use a tensor."), "Python's own"),
        (ValueError("it is empty. Give a picture."), "names no input"),
        (ValueError("image: it is empty."), "does not say what to do"),
        (MemoryError(), "names no input"),
        (ValueError("image: give\na picture"), "is no sentence"),
    ],
)
def test_other_errors_are_bad_ends(error, why):
    assert why in why_bad_error(error, ["image"])


def test_results_that_are_not_finite_or_of_another_shape_are_bad_ends():
    assert why_bad_result("IMAGE", torch.zeros(1, 4, 4, 3)) is None
    assert "not finite" in why_bad_result("MASK", torch.full((1, 4, 4), float("nan")))
    assert "shape" in why_bad_result("IMAGE", torch.zeros(4, 4, 3))
    assert "goes from" in why_bad_result("MASK", torch.full((1, 4, 4), 3.0))
    assert "not finite" in why_bad_result("CONDITIONING", [[torch.zeros(1, 2, 3), {"x": torch.tensor([torch.inf])}]])

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from colorize_core.guidance import check_count, effective_guidance, parse_factors, reference_strengths
from colorize_core.versions.v1 import VERSION


def published(e, e_r, e_s, g_r, g_s):
    by_reference, by_sketch = e_r + g_r * (e - e_r), e_s + g_s * (e - e_s)
    if g_r > 1 and g_s > 1:
        return (by_reference + by_sketch) / 2
    return by_reference if g_r > 1 else by_sketch if g_s > 1 else e


def ordinary(e, e_r, e_s, g_r, g_s):
    scale, share = effective_guidance(g_r, g_s)
    u = share * e_r + (1 - share) * e_s
    return u + scale * (e - u)


@given(st.floats(0, 30), st.floats(0, 30))
def test_it_is_the_published_formula_at_any_two_guidances(g_r, g_s):
    e, e_r, e_s = torch.randn(3, 100, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(ordinary(e, e_r, e_s, g_r, g_s), published(e, e_r, e_s, g_r, g_s))


def test_a_guidance_that_is_off_takes_no_share():
    assert effective_guidance(4, 1) == (4, 1)
    assert effective_guidance(1, 4) == (4, 0)
    assert effective_guidance(1, 1) == (1, 1)


def test_later_levels_win_and_the_rest_stays():
    strengths = reference_strengths(VERSION.attention, strength=1, encoder=0.8, color=0.5, semantics=0.3)
    assert strengths == (0.8, 0.8, 0.5, 0.5, 0.3, 0.3, 1, 0.3, 0.3, 0.3, 0.5, 0.5, 0.5, 1, 1, 1)


def test_a_strength_multiplies_all_levels():
    assert reference_strengths(VERSION.attention, strength=0.5) == (0.5,) * 16
    assert reference_strengths(VERSION.attention, strength=0.5, color=0.5)[2] == 0.25


def test_factors_are_numbers_however_they_are_parted():
    expected = tuple(range(16))
    assert parse_factors(", ".join(map(str, expected)), "per_block") == expected
    assert parse_factors("\n".join(map(str, expected)), "per_block") == expected
    assert parse_factors("  ", "per_block") == ()


@pytest.mark.parametrize(
    ("text", "reason"),
    [("1, x, 1", "could not convert string to float: 'x'"), ("nan", "numbers from -100 to 100"), ("1e38", "to 100")],
)
def test_factors_say_what_is_wrong(text, reason):
    with pytest.raises(ValueError, match=f"per_scale: .*{reason}"):
        parse_factors(text, "per_scale")


def test_another_count_of_factors_is_refused():
    with pytest.raises(ValueError, match="per_block has 3 numbers: this model takes 16"):
        check_count((1, 2, 3), 16, "per_block")

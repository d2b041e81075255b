"""ColorizeDiffusion v1.5 agrees with the published implementation, through the pack's nodes."""

import pytest
import torch
from figures import BACKGROUND, FOREGROUND, PICTURE

EXTRA = [
    ("eps", {}),
    ("eps.bg_enhance", BACKGROUND),
    ("eps.bg_enhance_reference0.3_sketch0.6", BACKGROUND | {"reference_threshold": 0.3, "sketch_threshold": 0.6}),
    ("eps.bg_enhance_picture", BACKGROUND | PICTURE),
    ("eps.bg_enhance_merge0.3", BACKGROUND | {"merging": 0.3}),
    ("eps.bg_enhance_strength0.55", BACKGROUND | {"strength": 0.55}),
    ("eps.fg_enhance", FOREGROUND),
    ("eps.fg_enhance_merge0.3", FOREGROUND | {"merging": 0.3}),
    ("eps.fg_bg_enhance", BACKGROUND | FOREGROUND),
]
# Float32 rounding, which nearly hard attention enlarges (tests/golden/README.md); a wrong formula is off by over 0.1.
WIDER = {"eps.fg_enhance": 1e-2, "eps.fg_bg_enhance": 1e-2}


@pytest.fixture(scope="module")
def extra(read_golden):
    return read_golden("tiny_v15_extra")


@pytest.fixture(scope="module")
def base(read_golden):
    return read_golden("tiny_v15")


@pytest.mark.parametrize(("name", "options"), EXTRA, ids=[name for name, _ in EXTRA])
def test_it_colors_as_published(check_extra, extra, name, options):
    check_extra(extra, name, options)


def test_without_a_figure_it_has_no_weights_for_one(
    open_version, base, tokens_of, conditionings, predict, assert_golden
):
    positive = conditionings(base, tokens_of(base["context"]))[0]
    assert_golden(predict(open_version("tiny_v15"), positive, base), base["eps"])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("eps.bg_enhance", BACKGROUND),
        ("eps.fg_enhance", FOREGROUND),
        ("eps.fg_bg_enhance", BACKGROUND | FOREGROUND),
    ],
)
def test_a_mask_with_soft_edges(
    open_version, base, figure_tokens, conditionings, predict, assert_golden, name, options
):
    positive = conditionings(base, figure_tokens(base, **options))[0]
    assert_golden(predict(open_version("tiny_v15"), positive, base), base[name], WIDER.get(name, 1e-4))


def test_strengths_merging_and_a_threshold_that_is_not_the_embedded_one(
    pack, open_version, base, figure_tokens, conditionings, predict, assert_golden, monkeypatch
):
    """The golden has the embedding of one threshold and the mask cut at another, which the node does not offer."""
    module = pack.colorize_core.host.figure
    in_figure = module.in_figure

    def cut_elsewhere(mask, threshold, size, inclusive):
        return in_figure(mask, torch.full_like(threshold, 0.6), size, inclusive)

    monkeypatch.setattr(module, "in_figure", cut_elsewhere)
    shares = {"foreground_strength": 0.9, "background_strength": 0.6, "merging": 0.3}
    positive = conditionings(base, figure_tokens(base, **BACKGROUND, **shares))[0]
    expected = base["eps.bg_enhance_fg0.9_bg0.6_merge0.3_thr0.6"]
    assert_golden(predict(open_version("tiny_v15"), positive, base), expected)

"""From a vector drawing to colors, line art and regions."""

import numpy as np
import pytest

from demo.art import lines, recoloring, svg
from demo.art.drawing import picture_of

WHITE, SIDE = (255, 255, 255), 64
PLAIN = lines.LineStyle(width=8.0, pencil=0.0, looseness=0.0, shades=False, spots=False, looseness_seed=0)
SHADED, SPOTTED = (lines.LineStyle(8.0, 0.0, 0.0, shades, not shades, 0) for shades in (True, False))


def parsed(body: str):
    return svg.parse(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64">{body}</svg>')


def drawn(body: str, style: lines.LineStyle = PLAIN, background=WHITE, **options):
    return picture_of(parsed(body), (0.0, 0.0, 64.0, 0.0), background, style, SIDE, **options)


def rect(x: int, y: int, width: int, height: int, fill: str, more: str = "") -> str:
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{fill}" {more}/>'


def test_every_pixel_tells_which_paint_is_seen():
    red, circle = rect(0, 0, 32, 64, "#ff0000"), '<circle cx="32" cy="32" r="10" fill="blue" stroke="#00ff00"/>'
    found = svg.paints(parsed(red + circle), SIDE)
    seen = {found.source[n - 1] if n else None: found.number == n for n in np.unique(found.number)}
    assert set(seen) == {None, "#ff0000", "blue", "#00ff00"}
    assert seen["#ff0000"][:, :20].all() and seen[None][:, 44:].all() and seen["blue"][32, 24:40].all()
    assert [found.stroke[found.source.index(color)] for color in ("#ff0000", "blue", "#00ff00")] == [False, False, True]


def test_shading_that_lets_most_through_is_no_paint_and_a_gradient_is_one():
    gradient = '<linearGradient id="g"><stop stop-color="red"/><stop offset="1" stop-color="blue"/></linearGradient>'
    shading = rect(0, 0, 64, 20, "#000", 'opacity="0.3"') + rect(0, 44, 64, 20, "#000", 'fill-opacity="40%"')
    found = svg.paints(parsed(gradient + rect(0, 0, 64, 64, "url(#g)") + shading), SIDE)
    assert found.source == ["url(#g)"] and (found.number == 1).all()


def test_a_class_stands_above_an_attribute_and_a_style_above_both():
    body = "<style>.a, .b {fill: #00ff00} .b {opacity: .1}</style>"
    body += rect(0, 0, 64, 64, "red", 'class="a"') + rect(0, 0, 9, 9, "red", 'class="a" style="fill:#0000ff"')
    found = svg.paints(parsed(body + rect(0, 0, 64, 64, "red", 'class="b"')), SIDE)
    assert found.source == ["#00ff00", "#0000ff"]


def test_what_is_no_drawing_says_so():
    with pytest.raises(svg.Unusable, match="no SVG"):
        svg.parse("<html/>")
    with pytest.raises(svg.Unusable, match="embeds a picture"):
        parsed('<image href="data:image/png;base64,"/>')
    with pytest.raises(svg.Unusable, match="nothing is drawn"):
        svg.extent(parsed(""))
    with pytest.raises(svg.Unusable, match="colors"):
        drawn("".join(rect(i % 8 * 8, i // 8 % 8 * 8, 8 - i // 64, 8, f"#{i:02x}8080") for i in range(256)))


def test_a_drawing_is_found_where_it_is_and_framing_leaves_it_as_it_is():
    root = parsed(rect(10, 20, 30, 12, "red"))
    assert np.allclose(svg.extent(root), (10, 20, 30, 12), atol=0.8)
    framed = svg.framed(root, (10.0, 20.0, 12.0, 90.0))
    assert svg.rendered(framed, 8)[..., 3].all() and root.get("viewBox") == "0 0 64 64"


def test_a_line_is_drawn_where_two_colors_meet():
    sketch = drawn(rect(0, 0, 32, 64, "#ff0000") + rect(32, 0, 32, 64, "#0000ff")).sketch
    assert (sketch[:, 31] < 128).all() and (sketch[:, :28] == 255).all() and (sketch[:, 36:] == 255).all()


def test_light_and_shade_of_one_thing_meet_without_a_line_unless_the_style_draws_shades():
    body = rect(0, 0, 32, 64, "#d04040") + rect(32, 0, 32, 64, "#a83434")
    assert (drawn(body).sketch == 255).all() and drawn(body, SHADED).sketch.min() < 128


@pytest.mark.parametrize("color", ("#101010", "#ff0000"))
def test_a_thin_stroke_is_one_line_whatever_its_color(color):
    sketch = drawn(rect(0, 0, 64, 64, "#ffe0a0") + f'<path d="M0 32H64" stroke="{color}" stroke-width="1.6"/>').sketch
    assert (sketch[32] < 128).all()
    assert ((sketch < 200).sum(axis=0) <= 2).all()


def test_a_seam_of_a_pixel_makes_no_line_of_its_own():
    number = np.zeros((20, 20), int)
    number[:, 10:] = 2
    number[::3, 10] = 1  # a lower paint looks through
    assert set(np.unique(lines.without_slivers(number))) == {0, 2}


def test_large_black_is_white_paper_or_a_spot_by_the_style_but_a_dark_background_never_is():
    body = rect(16, 16, 32, 32, "#000000")
    assert drawn(body).sketch[24:40, 24:40].min() == 255 and drawn(body, SPOTTED).sketch[24:40, 24:40].max() == 0
    night = drawn(rect(16, 16, 32, 32, "#ffffff"), SPOTTED, background=(20, 20, 50))
    assert (night.sketch[:10] == 255).all()


def test_regions_are_the_colors_of_the_file_and_ink_belongs_to_its_neighbor():
    body = rect(0, 0, 32, 64, "#FF0000") + rect(40, 0, 24, 64, "#ff0000", 'stroke="#000000" stroke-width="2"')
    picture = drawn(body)
    assert picture.sources[0] == "#ff0000" and picture.regions.dtype == np.uint8
    assert (picture.regions[:, :31] == 1).all() and (picture.regions[:, 42:] == 1).all()
    assert set(np.unique(picture.regions)) == {0, 1}


def test_an_artists_own_line_art_is_taken_as_it_is():
    own = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64"><path d="M0 8H64" stroke="#000"/></svg>'
    sketch = drawn(rect(0, 0, 64, 32, "#ff0000"), lines=own).sketch
    assert (sketch[8] < 200).all() and (sketch[30:34] == 255).all()


def test_loose_lines_stray_and_keep_their_ink():
    ink = np.zeros((128, 128))
    ink[60:66] = 1
    loose = lines.LineStyle(2.0, 0.0, 1.0, False, False, 3)
    strayed = lines.strayed(ink, loose)
    assert not np.array_equal(strayed, ink) and 0.7 < strayed.sum() / ink.sum() < 1.3
    assert lines.strayed(ink, PLAIN) is ink


def test_recoloring_changes_a_color_alike_everywhere_and_leaves_ink():
    for seed in range(8):
        new = recoloring.random_recoloring(np.random.default_rng(seed))
        first, second = (recoloring.recolored(text, new) for text in ("#c83232 #111111", "fill='#C83232'"))
        assert first.endswith(" #111111") and first[:7] == second[6:13] != "#c83232"

"""Pairs of training pictures from artists' packages, and the set that is mixed from them."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from demo import mixture
from demo.art import avatars, clipart, pairs, sources, svg
from demo.words import FIRST_OF_DRAWING, MORE_REGIONS, NOUN_COLORS, UNNAMED

FACE = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100"><rect x="20" y="60" width="60" height="40" '
    'fill="#a30001"/><circle cx="50" cy="40" r="30" fill="#a20001"/><path d="M20 40A30 30 0 0 1 80 40Z" '
    'fill="#a10001"/><circle cx="40" cy="45" r="4" fill="#a10002"/><circle cx="60" cy="45" r="4" fill="#123456"/></svg>'
)
BODY = '<circle cx="{x}" cy="12" r="{r}" fill="#ff8000"/><circle cx="{x}" cy="10" r="3" fill="#0040ff"/>'
ICONS = {
    "woman-cook-dark-skin-tone": {"body": BODY.format(x=16, r=8)},
    "man-cook": {"body": BODY.format(x=14, r=10)},
    "ball": {"body": BODY.format(x=12, r=9)},
    "flag-of-nowhere": {"body": BODY.format(x=10, r=6)},
    "arrow": {"body": BODY.format(x=10, r=6)},
}


@pytest.fixture
def packages(tmp_path):
    """Stands for the installed packages: an emoji set of five drawings and the exported figures."""
    for name in ("noto", "twemoji", "fluent-emoji-flat", "fxemoji", "emojione", "streamline-emojis"):
        folder = tmp_path / "npm" / "@iconify-json" / name
        folder.mkdir(parents=True)
        icons = {key: value for key, value in ICONS.items() if name == "noto"}
        (folder / "icons.json").write_text(json.dumps({"icons": icons, "width": 32, "height": 32}))
        (folder / "metadata.json").write_text(json.dumps({"categories": {"Symbols": ["arrow"]}}))
    (tmp_path / "npm/openmoji/data").mkdir(parents=True)
    (tmp_path / "npm/openmoji/data/openmoji.json").write_text("[]")
    figures = [{"style": style, "source": FACE} for style in ("bigheads", "facesjs")]
    (tmp_path / "figures.jsonl").write_text("\n".join(map(json.dumps, figures)))
    return sources.Sources(tmp_path / "npm", tmp_path / "debian", tmp_path / "figures.jsonl")


def artist(style: str) -> avatars.Artist:
    return next(each for each in avatars.ARTISTS if each.style == style)


@pytest.mark.parametrize("style", [each.style for each in avatars.ARTISTS])
def test_a_figures_regions_have_the_colors_that_its_words_say(style, packages):
    rng = np.random.default_rng(5)
    palette = avatars.random_avatar_palette(rng)
    other = avatars.recolored_palette(palette, ["hair"], rng)
    side = pairs.avatar_side(artist(style), (palette, other), 7, 128, packages)
    assert {"hair", "skin"} <= side.words.keys() <= set(side.known)
    for noun in side.words.keys() - {"background", "glasses", "earrings", "lips"}:
        inside = side.regions == MORE_REGIONS[noun]
        tolerance = 60 if style in ("bigheads", "facesjs", "personas") else 2  # a shade or a pattern is in it too
        assert np.abs(np.median(side.color[inside], axis=0) - palette.rgb[noun]).max() <= tolerance, noun
    changed = np.abs(side.color.astype(int) - side.recolored).sum(-1) > 6
    assert changed[side.regions == MORE_REGIONS["hair"]].mean() > 0.5
    assert changed[side.regions == MORE_REGIONS["background"]].mean() < 0.1
    assert side.recolored_words == side.words | {"hair": other.names["hair"]}


def test_figures_of_a_pair_share_their_words_and_no_shape(packages):
    for seed in range(4):
        first, second = pairs.art_pair("avatars", (seed,), 64, packages, trained=True)
        assert all(first.words[noun] == second.words[noun] for noun in first.words.keys() & second.words.keys())
        assert (first.sketch != second.sketch).mean() > 0.02


def test_a_seed_gives_the_same_pair_again(packages):
    for kind in ("avatars", "things"):
        first, again = (pairs.art_pair(kind, (4, 2), 64, packages, trained=True) for _ in range(2))
        assert all(np.array_equal(a.color, b.color) and a.words == b.words for a, b in zip(first, again, strict=True))


def test_colors_of_a_palette_tell_their_nouns_apart():
    for seed in range(40):
        palette = avatars.random_avatar_palette(np.random.default_rng(seed))
        assert len(set(palette.rgb.values())) == len(palette.rgb)
        for noun, rgb in palette.rgb.items():
            assert np.abs(np.subtract(rgb, NOUN_COLORS[noun][palette.names[noun]])).max() <= avatars.JITTER


def test_drawings_that_differ_in_person_or_skin_are_a_family_and_signs_are_left_out(packages):
    groups = clipart.families(clipart.COLLECTIONS[0], packages)
    assert [[drawing.family for drawing in group] for group in groups] == [["ball"], ["cook", "cook"]]


def test_both_sides_of_a_pair_of_things_have_a_color_under_the_same_number(packages):
    for seed in range(4):
        first, second = pairs.art_pair("things", (seed,), 64, packages, trained=True)
        numbers = set(np.unique(first.regions)) & set(np.unique(second.regions))
        assert numbers == {0, FIRST_OF_DRAWING, FIRST_OF_DRAWING + 1}
        for number in numbers:
            a, b = (np.median(side.color[side.regions == number], axis=0) for side in (first, second))
            assert np.abs(a - b).max() <= 2
        assert first.known == ("background",) and UNNAMED not in numbers
        changed = (first.color != first.recolored).any(-1)
        assert changed[first.regions == 0].mean() > 0.8 and changed[first.regions == FIRST_OF_DRAWING].mean() < 0.2


def test_what_is_kept_for_the_test_is_never_trained_on(packages):
    trained, tested = ({each.style for each in avatars.ARTISTS if each.trained == trained} for trained in (True, False))
    assert tested == {"toon-head", "facesjs"} and not trained & tested
    assert {each.name for each in clipart.COLLECTIONS if not each.trained} == {"openmoji", "streamline-emojis"}
    assert {
        side.name for seed in range(6) for side in pairs.art_pair("avatars", (seed,), 32, packages, False)
    } <= tested
    with pytest.raises(ValueError, match="for the test"):
        pairs.art_pair("anime", (1,), 32, packages, trained=True)
    with pytest.raises(ValueError, match="no collection"):  # the set has none of the test's
        pairs.art_pair("things", (1,), 32, packages, trained=False)


def test_a_drawing_that_cannot_be_used_gives_way_to_another(packages, monkeypatch):
    calls = []

    def maker(rng, *_):
        calls.append(rng.random())
        if len(calls) < 3:
            raise svg.Unusable("broken")
        return "a pair"

    monkeypatch.setitem(pairs.MAKERS, "things", maker)
    assert pairs.art_pair("things", (1,), 32, packages, True) == "a pair" and len(set(calls)) == 3
    calls.extend(range(-99, 0))
    monkeypatch.setattr(pairs, "TRIES", 0)
    with pytest.raises(ValueError, match="no picture"):
        pairs.art_pair("things", (1,), 32, packages, True)


def test_packages_are_installed_once_and_a_failure_says_what_is_needed(tmp_path, monkeypatch):
    commands = []

    def run(command, **options):
        commands.append(command[0])
        return subprocess.CompletedProcess(command, 0, stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    for _ in range(2):
        assert sources.install_npm(tmp_path / "npm") == tmp_path / "npm" / "node_modules"
    assert commands == ["npm"]
    monkeypatch.setattr(subprocess, "run", lambda c, **_: subprocess.CompletedProcess(c, 1, stderr="no network"))
    with pytest.raises(ValueError, match=r"npm failed.*Node\.js 18 or later with npm\. It said: no network"):
        sources.install_npm(tmp_path / "other")
    monkeypatch.undo()
    with pytest.raises(ValueError, match="nothing-such: is not there"):
        sources.run(["nothing-such"], "something")


def test_a_debian_package_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    def run(command, needed, **options):
        if command[0] == "apt-get":
            (options["cwd"] / "clip_1.deb").touch()
        elif not whole:
            raise ValueError("broken")
        else:
            (command[-1] / "usr").mkdir()

    monkeypatch.setattr(sources, "run", run)
    whole = False
    with pytest.raises(ValueError, match="broken"):
        sources.install_debian("clip", tmp_path)
    assert not (tmp_path / "clip").exists()
    whole = True
    sources.install_debian("clip", tmp_path)
    assert [path.name for path in (tmp_path / "clip").iterdir()] == ["usr"]


def test_the_set_is_a_fifth_own_figures_and_the_rest_by_artists(packages):
    kinds = [mixture.mixed_pair(1, index, 32, packages)[0].name for index in range(40)]
    own = kinds.count("own") / len(kinds)
    assert mixture.KIND_SHARES["own"] == 0.2 and 0.05 < own < 0.4 and any(name.startswith("noto/") for name in kinds)


def test_drawing_goes_on_with_the_part_it_was_killed_at_and_gives_the_same_pictures(packages, tmp_path, monkeypatch):
    monkeypatch.setattr(mixture, "PART_PAIRS", 2)
    whole = mixture.mixed_pictures(5, 1, tmp_path / "whole", 32, packages)
    drawn = []

    def stopping(seed, index, *arguments, pair=mixture.mixed_pair):
        if index == 3 and 3 not in drawn:
            drawn.append(index)
            raise KeyboardInterrupt
        drawn.append(index)
        return pair(seed, index, *arguments)

    monkeypatch.setattr(mixture, "mixed_pair", stopping)
    with pytest.raises(KeyboardInterrupt):
        mixture.mixed_pictures(5, 1, tmp_path / "killed", 32, packages)
    resumed = mixture.mixed_pictures(5, 1, tmp_path / "killed", 32, packages)
    assert drawn == [0, 1, 2, 3, 2, 3, 4]
    assert len(whole) == 10 and isinstance(whole.color, np.memmap) and whole.words == resumed.words
    assert all(np.array_equal(getattr(whole, name), getattr(resumed, name)) for name in mixture.ARRAYS)


def test_the_notice_names_every_artist_with_package_and_license():
    notice = (Path(pairs.__file__).parents[1] / "NOTICE").read_text()
    trained, tested = notice.split("Never trained on")
    for each in (*avatars.ARTISTS, *clipart.COLLECTIONS):
        name = each.style if isinstance(each, avatars.Artist) else each.name
        section = " ".join((trained if each.trained else tested).split())
        assert name in section and each.license in section and each.by.removeprefix("the facesjs ") in section, name

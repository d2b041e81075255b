"""What is wrong with pictures, and with their settings."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_pictures import drawing, first_batches, make_folder, named, save, truncate

from colorize_core.training.data import DataSettings, PictureFolder


def test_a_picture_without_its_sketch_is_named_and_left_out(tmp_path, caplog):
    root = make_folder(tmp_path, [(64, 64)] * 9)
    for i in range(1, 8):
        (root / "sketch" / f"p{i}.png").unlink()
    assert PictureFolder(root).names == ["p0", "p8"]
    (message,) = named(caplog)
    assert "7 of 9 pictures have no sketch of the same name in sketch" in message
    assert message.endswith("p1, p2, p3, p4, p5 and 2 more")


def test_pictures_of_one_name_are_named_and_one_is_taken(tmp_path, caplog):
    root = make_folder(tmp_path, [(64, 64)] * 2)
    save(root, "color", "p1.jpg", drawing(64, 64))
    assert PictureFolder(root).names == ["p0", "p1"]
    (message,) = named(caplog)
    assert message.endswith("color: 1 pictures are left out, another of the same name is taken: p1.jpg")


def test_a_file_that_is_no_picture_is_skipped_once_by_name(tmp_path, caplog):
    root = make_folder(tmp_path, [(64, 64)] * 4)
    (root / "color" / "p2.png").write_bytes(b"no picture")
    first_batches(root, 6)
    assert named(caplog) == ["skipped, cannot be used: color/p2.png: is no picture of a known kind"]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_picture_that_breaks_off_is_replaced_named_once_and_nothing_else_changes(tmp_path, caplog, workers):
    root = make_folder(tmp_path, [(64, 64)] * 3 + [(128, 64)])
    whole = first_batches(root, 6)
    truncate(root / "color" / "p1.png")
    broken = first_batches(root, 6, workers=workers)
    (message,) = named(caplog)
    assert message.startswith("skipped, cannot be used: color/p1.png: ")
    p1, p2 = (np.asarray(drawing(64, 64, i)) for i in (1, 2))
    replaced = 0
    for before, after in zip(whole, broken, strict=True):
        assert before["seed"] == after["seed"] and before["color"].shape == after["color"].shape
        for old, new in zip(before["color"], after["color"], strict=True):
            upright = [x.movedim(0, -1).add(1).mul(127.5).round().byte().numpy() for x in (old, old.flip(-1))]
            if old.shape == (3, 64, 64) and any(np.array_equal(x, p1) for x in upright):
                replaced += 1
                new = [x.movedim(0, -1).add(1).mul(127.5).round().byte().numpy() for x in (new, new.flip(-1))]
                assert any(np.array_equal(x, p2) for x in new)
            else:
                assert torch.equal(old, new)
    assert replaced > 2


def test_where_no_picture_of_a_size_can_be_read_those_of_others_stand_in(tmp_path, caplog):
    root = make_folder(tmp_path, [(64, 64)] + [(64, 128)] * 2)
    for name in ("p1.png", "p2.png"):
        truncate(root / "sketch" / name)
    shapes = {batch["color"].shape[-2:] for batch in first_batches(root, 8)}
    assert shapes == {(64, 64), (88, 48)} and len(named(caplog)) == 2


@pytest.mark.parametrize("spoil", [truncate, lambda path: path.write_bytes(b"")])
def test_a_folder_of_broken_pictures_alone_is_an_error_that_says_so(tmp_path, spoil):
    root = make_folder(tmp_path, [(64, 64)] * 3)
    for path in (root / "color").iterdir():
        spoil(path)
    with pytest.raises(ValueError, match=r"none of its 3 pictures can be used; the first: color/p\d.png"):
        first_batches(root, 1)


def test_a_sketch_that_cannot_belong_to_its_picture_or_has_no_paper_is_skipped(tmp_path, caplog):
    root = make_folder(tmp_path, [(64, 64)] * 3)
    save(root, "sketch", "p0.png", drawing(64, 70))
    save(root, "sketch", "p1.png", Image.new("L", (64, 64), 128))
    batch = first_batches(root, 3)[0]
    assert torch.equal(batch["sketch"].isfinite().all(), torch.tensor(True))
    wrong_shape, no_paper = sorted(named(caplog))
    assert "sketch/p0.png: is 64x70, another shape than its picture's 64x64" in wrong_shape
    assert "sketch/p1.png: " in no_paper and "half gray" in no_paper
    given = first_batches(root, 3, polarity="black lines on white")
    assert any((batch["sketch"].mean((1, 2, 3)).abs() < 0.01).any() for batch in given)


@pytest.mark.parametrize("missing", ["color", "sketch"])
def test_a_folder_that_is_missing_or_empty_is_an_error_that_says_what_to_do(tmp_path, missing):
    root = make_folder(tmp_path, [(64, 64)])
    (root / missing / "p0.png").rename(root / missing / "p0.txt")
    with pytest.raises(ValueError, match=rf"there is no picture in {missing}\. Put the pictures in color/"):
        PictureFolder(root)
    (root / missing).rename(root / "elsewhere")
    with pytest.raises(ValueError, match=rf"neither a folder {missing} nor an archive {missing}.zip"):
        PictureFolder(root)
    (root / f"{missing}.zip").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=rf"{missing}\.zip: is no zip archive"):
        PictureFolder(root)


def test_pictures_and_sketches_by_different_names_are_an_error_that_shows_both(tmp_path):
    save(tmp_path, "color", "a.png", drawing(64, 64))
    save(tmp_path, "sketch", "a_sketch.png", drawing(64, 64))
    with pytest.raises(ValueError, match=r"no picture of color \(a\) has a sketch .* in sketch \(a_sketch\)"):
        PictureFolder(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size: is 0; allowed is 1 or more"),
        ({"multiple": 12}, "multiple: is 12; allowed are multiples of 8"),
        ({"max_aspect": 0.5}, "max_aspect: is 0.5; allowed is 1 or more"),
        ({"workers": -1}, "workers: is -1"),
        ({"resolutions": ()}, "resolutions: is \\[\\]; allowed are multiples of 64"),
        ({"resolutions": (512, 500)}, "resolutions: is \\[512, 500\\]"),
    ],
)
def test_settings_out_of_range_are_errors_that_name_them(changes, message):
    with pytest.raises(ValueError, match=message):
        DataSettings(Path(), **changes)

"""What is in a sample: crops, mirroring, references, and pictures of any mode."""

import numpy as np
import pytest
import torch
from PIL import Image
from small_pictures import drawing, first_batches, make_folder, save

from colorize_core.training import buckets, data
from colorize_core.training.data import PictureFolder
from colorize_core.training.deformation import Deformation
from colorize_core.training.pictures import Store
from colorize_core.training.strategies import draw


def rgba() -> Image.Image:
    """Transparent black but for an opaque green left half."""
    image = Image.new("RGBA", (64, 64))
    image.paste((0, 255, 0, 255), (0, 0, 32, 64))
    return image


def sixteen_bit(dtype: str = "<u2") -> Image.Image:
    gray = np.full((64, 64), 65535, dtype)
    gray[:, :32] = 257 * 100
    return Image.fromarray(gray)


GREEN, WHITE, GRAY = (0, 255, 0), (255, 255, 255), (100, 100, 100)


def test_reading_ahead_leaves_the_generator_of_the_training_alone(mixed):
    torch.manual_seed(3)
    first_batches(mixed, 2)
    drawn = torch.rand(4)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(4))


def test_picture_and_sketch_are_cut_and_mirrored_alike_and_the_sketch_is_white_on_black(tmp_path):
    root = make_folder(tmp_path, [(200, 64)])
    color, sketch, reference = (
        torch.cat([batch[key] for batch in first_batches(root, 8, reference_size=64)])
        for key in ("color", "sketch", "reference")
    )
    assert color.shape == (32, 3, 48, 88) and color.dtype == sketch.dtype == torch.float32
    assert torch.allclose(sketch, -color, atol=1e-6)
    assert sketch.amin() == -1 and sketch.amax() > 0.9 and sketch.median() < -0.5
    assert torch.nn.functional.interpolate(reference, (48, 88), mode="bilinear").sub(color).abs().mean() < 0.02


def test_half_of_the_pictures_are_mirrored_and_crops_move(tmp_path):
    root = tmp_path
    ramp = Image.fromarray(np.tile(np.linspace(0, 255, 96).astype(np.uint8), (64, 1)))
    save(root, "color", "a.png", ramp)
    save(root, "sketch", "a.png", drawing(96, 64))
    color = torch.cat([batch["color"] for batch in first_batches(root, 16, max_aspect=1)])
    mirrored = color[:, 0, 0, 0] > color[:, 0, 0, -1]
    assert 0.25 < mirrored.float().mean() < 0.75
    assert color[:, 0, 0].mean(dim=-1).unique().numel() > 30


def test_a_sketch_of_another_resolution_lies_on_its_picture(tmp_path):
    save(tmp_path, "color", "a.jpg", drawing(150, 64), quality=100)
    save(tmp_path, "sketch", "a.webp", drawing(450, 193), lossless=True)
    (batch,) = first_batches(tmp_path, 1)
    assert (batch["color"] + batch["sketch"]).abs().mean() < 0.02


def test_the_reference_is_that_of_the_folder_whole_or_else_the_picture_itself_deformed(tmp_path):
    root = make_folder(tmp_path, [(64, 64), (64, 64)])
    save(root, "reference", "p0.png", Image.new("RGB", (31, 77), "red"))
    batch = first_batches(root, 1, reference_size=64)[0]
    red = torch.tensor([1.0, -1, -1])[:, None, None]
    is_red = (batch["reference"] == red).flatten(1).all(1)
    is_own = (batch["reference"] == batch["color"]).flatten(1).all(1)
    assert batch["reference"].shape == (4, 3, 64, 64)
    assert is_red.sum() == 2 and torch.equal(is_own, ~is_red)
    deformed = first_batches(root, 1, Deformation(), reference_size=64)[0]
    assert torch.equal(deformed["color"], batch["color"])
    assert not (deformed["reference"] == batch["color"]).flatten(1).all(1).any()


@pytest.mark.parametrize(
    ("image", "left", "right"),
    [
        (rgba(), GREEN, WHITE),
        (rgba().quantize(), GREEN, WHITE),
        (rgba().convert("LA"), (150, 150, 150), WHITE),
        (sixteen_bit(), GRAY, WHITE),
        (sixteen_bit().convert("I"), GRAY, WHITE),
        (sixteen_bit(">u2"), GRAY, WHITE),
        (Image.new("1", (64, 64), 1), WHITE, WHITE),
        (Image.new("L", (64, 64), 100), GRAY, GRAY),
        (Image.new("CMYK", (64, 64), (255, 0, 255, 0)), GREEN, GREEN),
    ],
    ids=["RGBA", "palette", "gray and alpha", "16 bit", "32 bit", "16 bit big-endian", "1 bit", "gray", "CMYK"],
)
def test_pictures_of_any_mode_are_read_and_transparent_parts_are_white(tmp_path, image, left, right):
    save(tmp_path, "color", "a.tif" if image.mode in ("CMYK", "I", "I;16B") else "a.png", image)
    save(tmp_path, "sketch", "a.png", drawing(64, 64))
    picture = Store.find(tmp_path, "color").read("a")
    assert picture.mode in ("RGB", "RGBA")
    color = first_batches(tmp_path, 1, batch_size=1)[0]["color"][0].add(1).mul(127.5).round()
    columns = {tuple(color[:, 30, x].int().tolist()) for x in (10, 54)}
    assert columns == {left, right}


def test_a_picture_turned_by_its_camera_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown a quarter turn clockwise
    upright = Image.new("RGB", (64, 128), "blue")
    upright.paste("red", (0, 0, 64, 64))
    for ending in ("jpg", "png", "tif"):
        root = tmp_path / ending
        save(root, "color", f"a.{ending}", upright.rotate(90, expand=True), exif=exif)
        save(root, "sketch", "a.png", drawing(64, 128))
        assert PictureFolder(root).sizes.tolist() == [[128, 64]]
        color = first_batches(root, 1, batch_size=1)[0]["color"][0]
        assert color.shape == (3, 88, 48) and color[0, 10, 24] > 0.9 and color[2, 80, 24] > 0.9


def test_what_is_drawn_for_a_picture_has_nothing_to_do_with_what_its_loss_draws(tmp_path, monkeypatch):
    offsets = []
    monkeypatch.setattr(data, "crop_box", lambda size, target, offset: offsets.append(offset) or buckets.WHOLE)
    drawn = [
        draw(batch["seed"], (4, 1, 1), (1, 1), "cpu") for batch in first_batches(make_folder(tmp_path, [(64, 64)]), 9)
    ]
    for uniform in ("drop", "noisy", "sketch_drop"):
        shares = torch.cat([getattr(draws, uniform) for draws in drawn])
        assert (shares - torch.tensor(offsets)).abs().min() > 1e-4

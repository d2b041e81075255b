import itertools
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from colorize_core.training import buckets, data
from colorize_core.training.buckets import batch_plan, bucket_sizes
from colorize_core.training.data import DataSettings, PictureFolder
from colorize_core.training.deformation import Deformation
from colorize_core.training.loader import batches
from colorize_core.training.pictures import Store
from colorize_core.training.strategies import draw

AS_IS = Deformation(warp=0, flip=0, rotation=0, crop=1)
SIDES = st.integers(1, 3000)
RESOLUTIONS = st.builds(
    lambda multiple, times: (multiple * times, multiple), st.sampled_from([8, 32, 64]), st.integers(1, 16)
)
COUNTS = st.lists(st.integers(1, 9), min_size=1, max_size=5)


def drawing(width: int, height: int, seed: int = 0) -> Image.Image:
    """Black strokes on white paper, another drawing for every seed; smooth, so that it is the same at any size."""
    rng = np.random.default_rng(seed)
    coarse = np.full((6, 6), 255, np.uint8)
    coarse[rng.integers(6, size=4), rng.integers(6, size=4)] = 0
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR).convert("RGB")


def save(root: Path, kind: str, name: str, image: Image.Image, **options) -> Path:
    path = root / kind / name
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def make_folder(root: Path, sizes: list[tuple[int, int]]) -> Path:
    """Pictures p0, p1, ... of (width, height), each its own sketch."""
    for i, size in enumerate(sizes):
        save(root, "color", f"p{i}.png", drawing(*size, i))
        save(root, "sketch", f"p{i}.png", drawing(*size, i))
    return root


def make_archives(root: Path, prefix: str = "{kind}/") -> Path:
    """The same pictures as archives, elsewhere."""
    other = root.with_name(root.name + "-zipped")
    other.mkdir()
    for folder in root.iterdir():
        with zipfile.ZipFile(other / f"{folder.name}.zip", "w") as archive:
            for file in folder.iterdir():
                archive.write(file, prefix.format(kind=folder.name) + file.name)
            archive.writestr(f"__MACOSX/{folder.name}/._p0.png", b"not a picture")
            archive.writestr("notes.txt", b"not a picture")
    return other


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-60])


def options(root: Path, **changes) -> DataSettings:
    return DataSettings(
        root, **{"batch_size": 4, "resolutions": (64,), "multiple": 8, "reference_size": 32, "workers": 0} | changes
    )


def sort(sizes: list[tuple[int, int]], resolutions: tuple[int, ...], multiple: int = 64) -> dict:
    members = buckets.sort_into_buckets(np.array(sizes), resolutions, multiple, max_aspect=2)
    return {size: positions.tolist() for size, positions in members.items()}


def first_batches(root: Path, count: int, deformation: Deformation = AS_IS, start: int = 0, **changes) -> list[dict]:
    split = {name: changes.pop(name) for name in ("process", "processes", "accumulation") if name in changes}
    parts = batches(PictureFolder(root), options(root, **changes), deformation, seed=5, start=start, **split)
    return list(itertools.islice(parts, count))


def assert_same(some: dict, other: dict) -> None:
    assert some.keys() == other.keys() == {"color", "sketch", "reference", "seed"}
    assert some["seed"] == other["seed"]
    for key in ("color", "sketch", "reference"):
        assert torch.equal(some[key], other[key]), key


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> Path:
    """Nine pictures, wide, tall and square."""
    sizes = [(80, 64), (64, 90), (70, 70), (128, 60), (60, 128), (64, 64), (90, 64), (66, 60), (50, 99)]
    return make_folder(tmp_path_factory.mktemp("mixed"), sizes)


# Sizes


@settings(deadline=None)
@given(RESOLUTIONS, st.floats(1, 4))
def test_bucket_sizes_are_multiples_near_the_resolution_and_no_longer_than_asked(resolution, max_aspect):
    resolution, multiple = resolution
    sizes = bucket_sizes(resolution, multiple, max_aspect)
    assert (resolution, resolution) in sizes
    for height, width in sizes:
        assert height % multiple == 0 and width % multiple == 0
        assert max(height, width) <= max_aspect * min(height, width)
        assert abs(height * width - resolution**2) <= min(height, width) * multiple / 2
        assert (width, height) in sizes


@settings(deadline=None)
@given(st.tuples(SIDES, SIDES), RESOLUTIONS)
def test_any_picture_comes_in_the_size_that_crops_least(size, resolution):
    resolution, multiple = resolution
    ((chosen, members),) = sort([size], resolutions=(resolution,), multiple=multiple).items()
    assert members == [0]

    def cropped_pixels(target):
        height, width = size
        scale = min(height / target[0], width / target[1])
        return height * width - scale**2 * target[0] * target[1]

    least = min(cropped_pixels(target) for target in bucket_sizes(resolution, multiple, 2))
    assert cropped_pixels(chosen) <= least + 1e-6 * size[0] * size[1]


@settings(deadline=None)
@given(st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES), st.floats(0, 1))
def test_a_crop_has_the_shape_asked_for_and_lies_in_the_picture_from_edge_to_edge(size, target, offset):
    left, top, right, bottom = buckets.crop_box(size, target, offset)
    assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1
    assert (left, right) == (0, 1) or (top, bottom) == (0, 1)
    shape = (right - left) * size[1] / ((bottom - top) * size[0])
    assert shape == pytest.approx(target[1] / target[0], rel=1e-6)


def test_a_picture_appears_at_each_resolution_that_it_is_large_enough_for():
    members = sort([(512, 512), (1000, 1000), (230, 230), (40, 40)], resolutions=(512, 256, 128))
    assert members == {(128, 128): [0, 1, 2, 3], (256, 256): [0, 1, 2], (512, 512): [0, 1]}


def test_a_picture_is_enlarged_by_a_quarter_at_most_where_a_smaller_size_is_to_be_had():
    members = sort([(410, 410), (409, 409)], resolutions=(512, 256))
    assert members == {(256, 256): [0, 1], (512, 512): [0]}


# What is held out


def test_names_decide_which_pictures_are_held_out_whatever_others_there_are(mixed, tmp_path):
    few = PictureFolder(mixed)
    train, held_out = few.split(0.5)
    assert sorted([*train.names, *held_out.names]) == few.names and len(train) + len(held_out) == 9
    assert [few.sizes[few.names.index(name)].tolist() for name in held_out.names] == held_out.sizes.tolist()
    more = PictureFolder(make_folder(tmp_path, [(64, 64)] * 200))
    _, others = more.split(0.5)
    assert set(held_out.names) <= set(others.names) and 70 < len(others) < 130
    assert more.split(0) == (more, None) and few.split(1e-9) == (few, None)


# Order


def buckets_of(counts: list[int]) -> dict:
    return {(64, 64 * (i + 1)): list(range(count)) for i, count in enumerate(counts)}


@settings(deadline=None)
@given(COUNTS, st.integers(1, 6), st.integers(0, 2**40), st.integers(0, 60))
def test_a_batch_is_the_same_whichever_step_the_training_starts_from(counts, batch_size, seed, start):
    from_first = itertools.islice(batch_plan(buckets_of(counts), batch_size, seed), start, start + 5)
    resumed = itertools.islice(batch_plan(buckets_of(counts), batch_size, seed, start), 5)
    assert list(from_first) == list(resumed)


@settings(max_examples=50, deadline=None)
@given(COUNTS, st.integers(1, 6), st.integers(0, 2**40), st.integers(1, 200))
def test_each_picture_comes_as_often_as_any_other(counts, batch_size, seed, steps):
    batches = list(itertools.islice(batch_plan(buckets_of(counts), batch_size, seed), steps))
    assert all(len({place.size for place in batch}) == 1 and len(batch) == batch_size for batch in batches)
    for size, members in buckets_of(counts).items():
        visited = [place.member for batch in batches for place in batch if place.size == size]
        seen = [visited.count(member) for member in members]
        assert max(seen) - min(seen) <= 1
        share = steps * batch_size * len(members) / sum(counts)
        assert abs(len(visited) - share) <= 3 * batch_size


def test_each_pass_over_the_pictures_has_an_order_of_its_own():
    passes = [[place.member for place in batch] for batch in itertools.islice(batch_plan(buckets_of([50]), 50, 0), 3)]
    assert all(sorted(order) == list(range(50)) for order in passes)
    assert passes[0] != passes[1] != passes[2] != passes[0]


def test_seeds_differ_between_samples_and_between_runs():
    drawn = [
        [place.seed for batch in itertools.islice(batch_plan(buckets_of([9]), 4, seed), 200) for place in batch]
        for seed in (0, 1)
    ]
    assert len(set(drawn[0] + drawn[1])) == 1600 and min(drawn[0]) >= 0 and max(drawn[0]) < 2**63


@settings(max_examples=8, deadline=None)
@given(st.sampled_from([(1, 1), (1, 2), (1, 4), (2, 1), (2, 2), (4, 1)]), st.integers(0, 20))
def test_processes_and_accumulated_parts_share_one_batch(mixed, split, start):
    processes, accumulation = split
    (whole,) = first_batches(mixed, 1, Deformation(), start)
    shares = [
        first_batches(
            mixed, accumulation, Deformation(), start, process=process, processes=processes, accumulation=accumulation
        )
        for process in range(processes)
    ]
    parts = [share[part] for part in range(accumulation) for share in shares]
    seeds = [seed for part in parts for seed in part.pop("seed")]
    assert_same(whole, {key: torch.cat([part[key] for part in parts]) for key in parts[0]} | {"seed": seeds})


def test_a_batch_that_cannot_be_shared_out_evenly_is_an_error(mixed):
    with pytest.raises(ValueError, match=r"batch_size: 4 pictures .* Take a multiple of 6"):
        first_batches(mixed, 1, processes=3, accumulation=2)


@pytest.mark.parametrize("prefix", ["", "{kind}/", "./"])
def test_archives_read_by_two_workers_give_the_same_as_folders(tmp_path, prefix):
    root = make_folder(tmp_path / "pictures", [(80, 64), (64, 90), (70, 70)])
    zipped = make_archives(root, prefix)
    for some, other in zip(first_batches(root, 3), first_batches(zipped, 3, workers=2), strict=True):
        assert_same(some, other)


def test_a_folder_within_a_folder_keeps_its_name_even_if_that_is_the_same(tmp_path):
    for kind in ("color", "sketch"):
        save(tmp_path, f"{kind}/color", "a.png", drawing(64, 64))
    assert PictureFolder(tmp_path).names == ["color/a"]


def test_reading_ahead_leaves_the_generator_of_the_training_alone(mixed):
    torch.manual_seed(3)
    first_batches(mixed, 2)
    drawn = torch.rand(4)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(4))


# What is in a sample


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


# What is listed


@pytest.mark.parametrize("zipped", [False, True])
def test_pictures_are_listed_once_until_one_comes_or_goes(tmp_path, monkeypatch, zipped):
    root = make_folder(tmp_path / "pictures", [(80, 64), (64, 90), (70, 70)])
    root = make_archives(root) if zipped else root
    first, listed = PictureFolder(root, tmp_path / "index.npz"), data._listed
    monkeypatch.setattr(data, "_listed", None)
    again = PictureFolder(root, tmp_path / "index.npz")
    assert again.names == first.names == ["p0", "p1", "p2"] and again.index.digest == first.index.digest
    assert again.sizes.tolist() == first.sizes.tolist() == [[64, 80], [90, 64], [70, 70]]
    some, other = (pictures.load("p1", (64, 64), 0, "auto", 32, AS_IS) for pictures in (first, again))
    assert all(torch.equal(some[key], other[key]) for key in some)
    monkeypatch.setattr(data, "_listed", listed)
    if zipped:
        with zipfile.ZipFile(root / "color.zip", "a") as archive:
            archive.writestr("color/readme.txt", b"more")
    else:
        (root / "color" / "p0.png").unlink()
    assert PictureFolder(root, tmp_path / "index.npz").names == (first.names if zipped else ["p1", "p2"])
    assert PictureFolder(root).index.digest == PictureFolder(root, tmp_path / "index.npz").index.digest


def test_pictures_too_small_to_be_any_are_left_out_by_name(tmp_path, caplog):
    root = make_folder(tmp_path, [(64, 64), (1, 1), (4000, 20)])
    assert PictureFolder(root).names == ["p0"]
    assert [message.partition(": ")[2] for message in named(caplog)] == [
        "color/p1.png: is 1x1, and sides of 32 are the least",
        "color/p2.png: is 4000x20, and sides of 32 are the least",
    ]


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archive_may_store_its_pictures_or_deflate_them(tmp_path, kind):
    root = make_folder(tmp_path / "pictures", [(64, 64)])
    whole = Store.find(root, "color").read("p0")
    with zipfile.ZipFile(tmp_path / "color.zip", "w", kind) as archive:
        archive.write(root / "color" / "p0.png", "p0.png")
    assert np.array_equal(Store.find(tmp_path, "color").read("p0"), whole)


# What is wrong with pictures


def named(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("colorize_core.training.")]


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

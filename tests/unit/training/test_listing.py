"""What pictures there are, in folders, archives and shards."""

import gzip
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from small_pictures import AS_IS, assert_same, drawing, first_batches, make_archives, make_folder, named, save

from colorize_core.training import data
from colorize_core.training.data import PictureFolder
from colorize_core.training.deformation import Deformation
from colorize_core.training.make_shards import write_shards
from colorize_core.training.pictures import Store
from colorize_core.training.shards import shard_files


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


@pytest.mark.parametrize("zipped", [False, True])
def test_pictures_are_listed_once_until_one_comes_or_goes(tmp_path, monkeypatch, zipped):
    root = make_folder(tmp_path / "pictures", [(80, 64), (64, 90), (70, 70)])
    root = make_archives(root) if zipped else root
    first, listed = PictureFolder(root, tmp_path / "index.npz"), data.list_pictures
    monkeypatch.setattr(data, "list_pictures", None)
    again = PictureFolder(root, tmp_path / "index.npz")
    assert again.names == first.names == ["p0", "p1", "p2"] and again.index.digest == first.index.digest
    assert again.sizes.tolist() == first.sizes.tolist() == [[64, 80], [90, 64], [70, 70]]
    some, other = (pictures.load("p1", (64, 64), 0, "auto", 32, AS_IS) for pictures in (first, again))
    assert all(torch.equal(some[key], other[key]) for key in some)
    monkeypatch.setattr(data, "list_pictures", listed)
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


# Shards


def write_tar(path, members):
    with tarfile.open(path, "w") as archive:
        for name, file in members:
            archive.add(file, name)
    return path


def test_shards_that_webdataset_makes_give_the_same_as_the_folders(tmp_path):
    root = make_folder(tmp_path / "pictures", [(80, 64), (64, 90), (70, 70)])
    save(root, "reference", "p1.png", drawing(40, 70, 9))
    for kind in ("color", "sketch"):  # a name with a dot in it
        (root / kind / "p2.png").rename(root / kind / "p2.b.png")
    assert write_shards(root, tmp_path / "shards", shard_bytes=2_000) == 3
    shards = shard_files(tmp_path / "shards")
    assert len(shards) > 1
    folders, sharded = PictureFolder(root), PictureFolder(tmp_path / "shards", tmp_path / "index.npz")
    assert [name.partition("/")[2] for name in sharded.names] == ["p0", "p1", "p2%2Eb"]
    assert sharded.sizes.tolist() == folders.sizes.tolist()
    for name, other in zip(folders.names, sharded.names, strict=True):
        some, same = (
            pictures.load(one, (64, 64), 3, "auto", 32, Deformation())
            for pictures, one in ((folders, name), (sharded, other))
        )
        assert all(torch.equal(some[key], same[key]) for key in some)
    for first, again in zip(*(first_batches(tmp_path / "shards", 4, workers=n) for n in (0, 2)), strict=True):
        assert_same(first, again)


def test_shards_are_what_webdataset_reads(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    root = make_folder(tmp_path / "pictures", [(64, 64)] * 3)
    write_shards(root, tmp_path / "shards")
    (shard,) = shard_files(tmp_path / "shards")
    samples = list(webdataset.WebDataset(str(shard), shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == ["p0", "p1", "p2"]
    assert all(sample["color.png"] == (root / "color" / f"p{i}.png").read_bytes() for i, sample in enumerate(samples))


def test_what_else_lies_in_a_shard_is_left_alone_and_another_shard_is_noticed(tmp_path):
    root = make_folder(tmp_path / "pictures", [(64, 64)] * 2)
    members = [(f"./deep/a.{kind}.png", root / kind / "p0.png") for kind in ("color", "sketch")]
    others = [("a.json", root / "color" / "p0.png"), ("._b.color.png", root / "color" / "p0.png")]
    write_tar(tmp_path / "x.tar", [*members, *others])
    cache = tmp_path / "cache" / "index.npz"
    cache.parent.mkdir()
    assert PictureFolder(tmp_path, cache).names == ["x/deep/a"]
    write_tar(tmp_path / "y.tar", members)
    assert PictureFolder(tmp_path, cache).names == ["x/deep/a", "y/deep/a"]


def test_shards_without_pictures_or_in_compression_are_errors_that_say_so(tmp_path):
    root = make_folder(tmp_path / "pictures", [(64, 64)])
    shard = write_tar(tmp_path / "x.tar", [("a.color.png", root / "color" / "p0.png")])
    with pytest.raises(ValueError, match=r"no picture in its shards that is called KEY\.sketch\.png"):
        PictureFolder(tmp_path)
    shard.write_bytes(gzip.compress(shard.read_bytes()))
    with pytest.raises(ValueError, match=r"x\.tar: is no plain tar archive .* without compression"):
        PictureFolder(tmp_path)


def test_shards_are_not_made_over_others(tmp_path):
    root = make_folder(tmp_path / "pictures", [(64, 64)])
    write_shards(root, tmp_path / "shards")
    with pytest.raises(ValueError, match="shards: is there already"):
        write_shards(root, tmp_path / "shards")


def test_shards_that_cannot_be_finished_leave_nothing(tmp_path, monkeypatch):
    root = make_folder(tmp_path / "pictures", [(64, 64)] * 3)
    monkeypatch.setattr(Store, "label", None)
    with pytest.raises(TypeError):
        write_shards(root, tmp_path / "shards")
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]

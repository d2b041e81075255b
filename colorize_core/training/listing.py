"""What pictures there are: those of a folder that can be used, by name, with the sizes that their heads tell."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from .index import PICTURE_KINDS, PictureIndex, Texts, lots_of
from .pictures import MIN_SIDE, Size, Store, UnreadablePicture, first_names
from .shards import shard_files, shard_stores

logger = logging.getLogger(__name__)


def is_sharded(root: Path) -> bool:
    """Whether the pictures of `root` lie in tar shards: there are some, and no colored pictures beside them."""
    return not Store.path_of(root, "color").exists() and bool(shard_files(root))


def listed_stores(root: Path) -> dict[str, Store]:
    """By kind all pictures of `root`, of references none if there are none. Raises ValueError where others are none."""
    if is_sharded(root):
        stores = shard_stores(root)
        for kind in ("color", "sketch"):
            if not stores[kind].files:
                raise ValueError(f"{root}: there is no picture in its shards that is called KEY.{kind}.png, or so.")
        return stores
    found = {kind: Store.find(root, kind) for kind in PICTURE_KINDS}
    for kind in ("color", "sketch"):
        if not (found[kind] and found[kind].files):
            is_there = f"no picture in {found[kind].path.name}" if found[kind] else ""
            wrong = is_there or f"neither a folder {kind} nor an archive {kind}.zip, and no shards *.tar"
            raise ValueError(
                f"{root}: there is {wrong}. Put the pictures in color/ and their sketches, by the same names, in "
                "sketch/."
            )
    return found | {"reference": found["reference"] or Store(root / "reference", {})}


def list_pictures(root: Path, stamp: str) -> PictureIndex:
    """The usable pictures of `root`, by name, with the sizes that their heads tell."""
    stores = listed_stores(root)
    color = stores["color"]
    names = with_sketch(root, color, stores["sketch"])
    with ThreadPoolExecutor(8) as threads:
        sizes = list(threads.map(lambda name: _size(color, name), names))
    unreadable = [size for size in sizes if isinstance(size, UnreadablePicture)]
    for error in unreadable:
        log_skipped(error)
    if len(unreadable) == len(names):
        raise ValueError(nothing_readable(root, len(names), unreadable[0]))
    found = sorted((name, size) for name, size in zip(names, sizes, strict=True) if isinstance(size, tuple))
    names = [name for name, _ in found]
    files = {kind: Texts.of(store.files.get(name, "") for name in names) for kind, store in stores.items()}
    sizes = np.array([size for _, size in found], np.int32)
    return PictureIndex(stamp, Texts.of(names), sizes, lots_of(names), files)


def with_sketch(root: Path, color: Store, sketch: Store) -> list[str]:
    """The names of the pictures that have a sketch; those that have none are logged. ValueError where none has."""
    lonely = [name for name in color.files if name not in sketch]
    if len(lonely) == len(color.files):
        raise ValueError(
            f"{root}: no picture of {color.path.name} ({first_names(lonely)}) has a sketch of the same name in "
            f"{sketch.path.name} ({first_names(list(sketch.files))}). Give each sketch its picture's name."
        )
    if lonely:
        logger.warning(
            "%s: %d of %d pictures have no sketch of the same name in %s and are left out: %s",
            *(root, len(lonely), len(color.files), sketch.path.name, first_names(lonely)),
        )
    return [name for name in color.files if name in sketch]


def _size(color: Store, name: str) -> Size | UnreadablePicture:
    try:
        size = color.size(name)
    except UnreadablePicture as error:
        return error
    if min(size) < MIN_SIDE:
        return UnreadablePicture(f"{color.label(name)}: is {size[1]}x{size[0]}, and sides of {MIN_SIDE} are the least")
    return size


def log_skipped(what: object) -> None:
    logger.warning("skipped, cannot be used: %s", what)


def nothing_readable(root: Path, count: int, first: object) -> str:
    return (
        f"{root}: none of its {count} pictures can be used; the first: {first}. Look at the files, or make them anew."
    )

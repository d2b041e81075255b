"""Pictures in tar shards, as webdataset names them: `KEY.color.png`, `KEY.sketch.png` and, if there is one,
`KEY.reference.png` lie together in one archive of many.

A training reads them where they lie, in the order of its plan, and so trains the same with any number of processes and
after any stop; that order keeps to a few places at a time, which disks and networks read ahead.
"""

import tarfile
from collections.abc import Iterator
from pathlib import Path

from .index import PICTURE_KINDS
from .pictures import ENDINGS, SEPARATOR, Store, is_hidden


def shard_files(root: Path) -> list[Path]:
    return sorted(root.glob("*.tar"))


def shard_stores(root: Path) -> dict[str, Store]:
    """By kind the pictures of all shards of `root`; a name is that of the shard, a slash, and the picture's key.

    ValueError for what is no tar archive.
    """
    files: dict[str, dict[str, str]] = {kind: {} for kind in PICTURE_KINDS}
    for shard in shard_files(root):
        for kind, name, file in _members(shard):
            files[kind][name] = file
    return {kind: Store(root, found) for kind, found in files.items()}


def _members(shard: Path) -> Iterator[tuple[str, str, str]]:
    """Kind, name and place of each picture of a shard, as Store.open reads it."""
    try:
        with tarfile.open(shard, "r:") as archive:  # compressed ones cannot be read at a place
            for member in archive:
                folder, _, base = member.name.removeprefix("./").rpartition("/")
                key, _, extension = base.partition(".")
                kind, _, ending = extension.partition(".")
                is_picture = kind in PICTURE_KINDS and f".{ending.lower()}" in ENDINGS
                if is_picture and member.isfile() and not is_hidden(base):
                    name = "/".join(filter(None, (shard.stem, folder, key)))
                    place = f"{shard.name}/{member.name}", str(member.offset_data), str(member.size)
                    yield kind, name, SEPARATOR.join(place)
                archive.members = []  # it would hold them all
    except tarfile.TarError as error:
        raise ValueError(f"{shard}: is no plain tar archive ({error}). Make it again, without compression.") from error

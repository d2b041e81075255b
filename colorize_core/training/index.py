"""The usable pictures of a folder, listed once and saved: to open a million of them for their sizes takes minutes.

It holds arrays alone. Python's own lists and dicts would be copied, page by page, into each process that reads them.
"""

import hashlib
import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..files import atomic_write

PICTURE_KINDS = ("color", "sketch", "reference")


class Texts(Sequence[str]):
    """Texts as two arrays: their bytes, one after the other, and where each ends."""

    def __init__(self, data: np.ndarray, ends: np.ndarray):
        self.data, self.ends = data, ends

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Texts":
        encoded = [text.encode() for text in texts]
        return cls(np.frombuffer(b"".join(encoded), np.uint8), np.cumsum([0, *map(len, encoded)]))

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, index: int) -> str:
        return self.data[self.ends[index] : self.ends[index + 1]].tobytes().decode()


class SortedFiles(Mapping[str, str]):
    """Files by name, of two Texts of which the names are sorted; a name whose file is empty is none."""

    def __init__(self, names: Texts, files: Texts):
        self.names, self.files = names, files

    def __getitem__(self, name: str) -> str:
        index = bisect_left(self.names, name)
        if index == len(self.names) or self.names[index] != name or not (file := self.files[index]):
            raise KeyError(name)
        return file

    def __iter__(self) -> Iterator[str]:
        return (name for name, file in zip(self.names, self.files, strict=True) if file)

    def __len__(self) -> int:
        return sum(1 for _ in self)


@dataclass(frozen=True)
class PictureIndex:
    """Names, sorted, `sizes` [N,2] (height, width), and by kind where each picture lies.

    `lots` [N] in 0..1 follow from the names, and decide what is held out; `stamp` tells what the index is of.
    """

    stamp: str
    names: Texts
    sizes: np.ndarray
    lots: np.ndarray
    files: dict[str, Texts]

    @property
    def digest(self) -> str:
        """Twelve digits that tell these pictures from others, by their names and sizes."""
        parts = (self.names.data, self.names.ends, self.sizes)
        return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()[:12]


def save_index(index: PictureIndex, path: Path) -> None:
    texts = {"names": index.names, **index.files}
    arrays = {f"{name}_{part}": getattr(text, part) for name, text in texts.items() for part in ("data", "ends")}
    with atomic_write(path) as file:
        np.savez(file, stamp=np.array(index.stamp), sizes=index.sizes, lots=index.lots, **arrays)


def load_index(path: Path, stamp: str) -> PictureIndex | None:
    """The saved index, if there is one and it is of what has this stamp."""
    if not path.is_file():
        return None
    with np.load(path) as arrays:
        if str(arrays["stamp"]) != stamp:
            return None
        texts = {n: Texts(arrays[f"{n}_data"], arrays[f"{n}_ends"]) for n in ("names", *PICTURE_KINDS)}
        return PictureIndex(stamp, texts.pop("names"), arrays["sizes"], arrays["lots"], texts)


def lots_of(names: Iterable[str]) -> np.ndarray:
    """A number in 0..1 for each name, which always has the same."""
    return np.array([int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2**32 for name in names])


def stamp_of(root: Path) -> str:
    """What changes when a picture comes, goes or is renamed: times of folders, times and sizes of archives and shards.

    A picture that is overwritten in its place is not noticed.
    """
    lines = [f"{shard.name} {shard.stat().st_mtime_ns} {shard.stat().st_size}" for shard in root.glob("*.tar")]
    for kind in PICTURE_KINDS:
        folder, archive = root / kind, root / f"{kind}.zip"
        if folder.is_dir():
            pending = [folder]
            while pending:
                current = pending.pop()
                status = current.stat()
                lines.append(f"{current.relative_to(root)} {status.st_mtime_ns}")
                # A folder without others in it has two links, where the file system counts them: nothing to look for.
                if status.st_nlink != 2:
                    inner = (entry for entry in os.scandir(current) if entry.is_dir(follow_symlinks=False))
                    pending += [Path(entry.path) for entry in inner]
        elif archive.is_file():
            lines.append(f"{archive.name} {archive.stat().st_mtime_ns} {archive.stat().st_size}")
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()

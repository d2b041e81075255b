"""Picture files: those of a folder, a zip archive or tar shards, by name, read as they are shown."""

import io
import logging
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
MIN_SIDE = 32  # pixels: smaller pictures are left out
SEPARATOR = "\0"  # in what is known of an archive's file
LOCAL_HEADER = 30  # bytes before an archive's file, without its name
NAMED = 5  # how many names a message gives

logger = logging.getLogger(__name__)

Size = tuple[int, int]  # height, width in pixels


class UnreadablePicture(Exception):
    """A picture that training can do without: which file, and what is wrong with it."""


@dataclass(frozen=True)
class Store:
    """Pictures of a folder or a zip archive `path`: where each lies in it, by name (no ending, with `/`).

    With a file of an archive stand where it begins, its bytes and how it is compressed; with one of a tar shard, which
    lies in the folder `path`, the first two.
    """

    path: Path
    files: Mapping[str, str]

    @staticmethod
    def path_of(root: Path, kind: str) -> Path:
        """The folder `root/kind`, or else the archive `root/kind.zip`."""
        return root / kind if (root / kind).is_dir() else root / f"{kind}.zip"

    @classmethod
    def find(cls, root: Path, kind: str) -> "Store | None":
        """The pictures of `root/kind/`, else of `root/kind.zip`; None if there is neither."""
        return cls.at(cls.path_of(root, kind))

    @classmethod
    def at(cls, path: Path) -> "Store | None":
        """The pictures of the folder or archive `path`, None if it is not there; names that two have are logged."""
        if path.is_dir():
            inner, files = "", [file.relative_to(path).as_posix() for file in path.rglob("*")]
        elif path.is_file():  # made of the folder itself an archive `color.zip` holds `color/a.png`, not `a.png`
            inner, files = f"{path.stem}/", _entries(path)
        else:
            return None
        plain = {file: file.partition(SEPARATOR)[0] for file in sorted(files)}
        pictures = [file for file, name in plain.items() if name.lower().endswith(ENDINGS) and not is_hidden(name)]
        names = [str(PurePosixPath(plain[file]).with_suffix("")).removeprefix(inner) for file in pictures]
        found = dict(zip(names, pictures, strict=True))
        if len(found) < len(pictures):
            twice = [plain[file] for name, file in zip(names, pictures, strict=True) if found[name] != file]
            logger.warning(
                "%s: %d pictures are left out, another of the same name is taken: %s",
                *(path, len(twice), first_names(twice)),
            )
        return cls(path, found)

    def __contains__(self, name: str) -> bool:
        return name in self.files

    def label(self, name: str) -> str:
        return f"{self.path.name}/{self.files[name].partition(SEPARATOR)[0]}"

    def open(self, name: str) -> IO[bytes]:
        file, *place = self.files[name].split(SEPARATOR)
        if not place:
            return open(self.path / file, "rb")
        if len(place) == 3:
            return io.BytesIO(_read_entry(self.path, *map(int, place)))
        return io.BytesIO(_read_bytes(self.path / file.partition("/")[0], *map(int, place)))

    def size(self, name: str) -> Size:
        """Height and width as shown, from the file's head. Raises UnreadablePicture."""
        with self._image(name) as image:
            exif = Image.Exif()
            exif.load(image.info.get("exif"))
            sideways = exif.get(ExifTags.Base.Orientation, 1) >= 5
            return (image.width, image.height) if sideways else (image.height, image.width)

    def read(self, name: str) -> Image.Image:
        """The picture as shown, 8 bit RGB, or RGBA if anything may be transparent. Raises UnreadablePicture."""
        with self._image(name) as image:
            image = ImageOps.exif_transpose(image)
            if image.mode == "F":
                raise ValueError("holds floating point numbers of an unknown range")
            if image.mode.startswith("I"):  # 16 bit gray
                image = Image.fromarray((np.asarray(image) / 257).round().clip(0, 255).astype(np.uint8))
            return image.convert("RGBA" if image.has_transparency_data else "RGB")

    @contextmanager
    def _image(self, name: str) -> Iterator[Image.Image]:
        try:
            with self.open(name) as file, Image.open(file) as image:
                yield image
        except UnidentifiedImageError as error:
            raise UnreadablePicture(f"{self.label(name)}: is no picture of a known kind") from error
        except Exception as error:  # decoders raise whatever comes
            raise UnreadablePicture(f"{self.label(name)}: {error}") from error


def _entries(path: Path) -> list[str]:
    """Each file of an archive: its name, where it begins, its bytes and how it is compressed, with SEPARATOR between.

    So that each process reads what it needs, and need not hold a list of all that is there.
    """
    try:
        with ZipFile(path) as archive:
            infos = archive.infolist()
    except BadZipFile as error:
        raise ValueError(f"{path}: is no zip archive ({error}). Zip the pictures again, or unpack them.") from error
    parts = ((i.filename, str(i.header_offset), str(i.compress_size), str(i.compress_type)) for i in infos)
    return [SEPARATOR.join(part) for part in parts]


def _read_bytes(path: Path, offset: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)


def _read_entry(path: Path, offset: int, size: int, kind: int) -> bytes:
    """The content of an archive's file. Raises ValueError for what neither is stored nor deflated."""
    with path.open("rb") as file:
        file.seek(offset)
        name, extra = struct.unpack("<26xHH", file.read(LOCAL_HEADER))
        file.seek(name + extra, os.SEEK_CUR)
        content = file.read(size)
    if kind == ZIP_STORED:
        return content
    if kind == ZIP_DEFLATED:
        return zlib.decompress(content, -zlib.MAX_WBITS)
    raise ValueError("is compressed in a way that is not read here; zip it with deflate, or store it")


def is_hidden(file: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(file).parts)


def first_names(names: list[str]) -> str:
    """Some of `names`, for a message, and how many more there are."""
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")

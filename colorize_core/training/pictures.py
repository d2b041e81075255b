"""Picture files: those of a folder or a zip archive, by name, read as they are shown."""

import functools
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO
from zipfile import BadZipFile, ZipFile

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
NAMED = 5  # how many names a message gives

logger = logging.getLogger(__name__)

Size = tuple[int, int]  # height, width in pixels


class UnreadablePicture(Exception):
    """A picture that training can do without: which file, and what is wrong with it."""


@dataclass(frozen=True)
class Store:
    """Pictures of a folder or a zip archive `path`: where each lies in it, by name (no ending, with `/`)."""

    path: Path
    files: dict[str, str]

    @classmethod
    def find(cls, root: Path, kind: str) -> "Store | None":
        """The pictures of `root/kind/`, else of `root/kind.zip`; None if there is neither."""
        return cls.at(root / kind) or cls.at(root / f"{kind}.zip")

    @classmethod
    def at(cls, path: Path) -> "Store | None":
        """The pictures of the folder or archive `path`, None if it is not there; names that two have are logged."""
        if path.is_dir():
            inner, files = "", [file.relative_to(path).as_posix() for file in path.rglob("*")]
        elif path.is_file():  # made of the folder itself an archive `color.zip` holds `color/a.png`, not `a.png`
            inner, files = f"{path.stem}/", _archive(path, os.getpid()).namelist()
        else:
            return None
        pictures = [file for file in sorted(files) if file.lower().endswith(ENDINGS) and not _hidden(file)]
        names = [str(PurePosixPath(file).with_suffix("")).removeprefix(inner) for file in pictures]
        found = dict(zip(names, pictures, strict=True))
        if len(found) < len(pictures):
            twice = [file for name, file in zip(names, pictures, strict=True) if found[name] != file]
            logger.warning(
                "%s: %d pictures are left out, another of the same name is taken: %s",
                *(path, len(twice), first_names(twice)),
            )
        return cls(path, found)

    def __contains__(self, name: str) -> bool:
        return name in self.files

    def label(self, name: str) -> str:
        return f"{self.path.name}/{self.files[name]}"

    def open(self, name: str) -> IO[bytes]:
        file = self.files[name]
        return _archive(self.path, os.getpid()).open(file) if self.path.is_file() else open(self.path / file, "rb")

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


@functools.cache
def _archive(path: Path, process: int) -> ZipFile:
    """The open archive of one process: processes that share a file handle would read from each other's place."""
    try:
        return ZipFile(path)
    except BadZipFile as error:
        raise ValueError(f"{path}: is no zip archive ({error}). Zip the pictures again, or unpack them.") from error


def _hidden(file: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(file).parts)


def first_names(names: list[str]) -> str:
    """Some of `names`, for a message, and how many more there are."""
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")

"""Pictures to learn from, in batches of one size: `color/` and `sketch/`, folders or zip archives of the same names.

A batch follows from the seed and the number of its step alone. So it is the same after a resume, and several processes
take their parts of the same one.
"""

import functools
import itertools
import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Literal, NamedTuple
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch.utils.data import DataLoader, Dataset, default_collate

from ..images import SIZE_MULTIPLE, rgb_on
from ..sketch import white_on_black
from .deformation import Deformation, deform

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
MAX_ENLARGEMENT = 1.25  # of a side: a picture that a resolution would enlarge more is left to smaller ones
MAX_DISTORTION = 1.02  # aspect ratio of a sketch to that of its picture
GOLDEN_RATIO = (5**0.5 - 1) / 2
PICTURE_STREAM = 2  # keeps what is drawn for a picture apart from what its loss draws by the same seed
NAMED = 5  # how many of the missing are named in a message

logger = logging.getLogger(__name__)

Size = tuple[int, int]  # height, width in pixels
Part = tuple[float, float, float, float]  # left, top, right, bottom of a picture, as shares of its sides
WHOLE: Part = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Settings:
    """Which pictures, and how they are cut.

    `batch_size` counts the pictures of one step, over all processes and accumulated parts. Pictures are cropped to
    about `resolution` ** 2 pixels, in the aspect ratio nearest to their own that is no longer than `max_aspect`, with
    sides of multiples of `multiple`. Of several resolutions a picture appears at each that it is large enough for.
    `polarity` is that of the sketches. References are squashed to a square of `reference_size`, CLIP's own by default.
    `workers` processes read pictures in advance; with 0 the training waits for each.
    """

    root: Path
    batch_size: int = 16
    resolutions: tuple[int, ...] = (512,)
    multiple: int = SIZE_MULTIPLE
    max_aspect: float = 2.0
    polarity: Literal["auto", "black lines on white", "white lines on black"] = "auto"
    reference_size: int = 224
    workers: int = 2

    def __post_init__(self):
        for name, least in {"batch_size": 1, "multiple": 8, "max_aspect": 1, "reference_size": 1, "workers": 0}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name}: is {getattr(self, name)}; allowed is {least} or more.")
        if self.multiple % 8:
            raise ValueError(f"multiple: is {self.multiple}; allowed are multiples of 8, a latent's pixel.")
        if not self.resolutions or any(r < self.multiple or r % self.multiple for r in self.resolutions):
            raise ValueError(
                f"resolutions: is {list(self.resolutions)}; allowed are multiples of {self.multiple} (`multiple`), "
                "one at least."
            )


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
                *(path, len(twice), _some(twice)),
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


class PictureFolder:
    """The pictures of `root` that have a sketch: their `names`, and the `sizes` (height, width) of them.

    `root` holds `color/` and `sketch/`, and may hold `reference/`: folders, or archives such as `color.zip`, with the
    same names in each; endings, sizes and modes may differ. What cannot be read or lacks its sketch is left out and
    named in the log. Raises ValueError if a folder is missing or nothing is left.
    """

    def __init__(self, root: Path):
        self.root = root
        self.color, self.sketch = (_needed(root, kind) for kind in ("color", "sketch"))
        self.reference = Store.find(root, "reference") or Store(root / "reference", {})
        names = self._with_sketch()

        with ThreadPoolExecutor(8) as threads:
            sizes = list(threads.map(self._size, names))
        unreadable = [size for size in sizes if isinstance(size, UnreadablePicture)]
        for error in unreadable:
            _log_skipped(error)
        if len(unreadable) == len(names):
            raise ValueError(_nothing_readable(root, len(names), unreadable[0]))
        readable = [(name, size) for name, size in zip(names, sizes, strict=True) if isinstance(size, tuple)]
        self.names, self.sizes = (list(column) for column in zip(*readable, strict=True))

    def __len__(self) -> int:
        return len(self.names)

    def _with_sketch(self) -> list[str]:
        lonely = [name for name in self.color.files if name not in self.sketch]
        if len(lonely) == len(self.color.files):
            raise ValueError(
                f"{self.root}: no picture of {self.color.path.name} ({_some(lonely)}) has a sketch of the same name in "
                f"{self.sketch.path.name} ({_some(list(self.sketch.files))}). Give each sketch its picture's name."
            )
        if lonely:
            logger.warning(
                "%s: %d of %d pictures have no sketch of the same name in %s and are left out: %s",
                *(self.root, len(lonely), len(self.color.files), self.sketch.path.name, _some(lonely)),
            )
        return [name for name in self.color.files if name in self.sketch]

    def _size(self, name: str) -> Size | UnreadablePicture:
        try:
            return self.color.size(name)
        except UnreadablePicture as error:
            return error

    def load(
        self, name: str, size: Size, seed: int, polarity: str, reference_size: int, deformation: Deformation
    ) -> dict[str, torch.Tensor]:
        """One sample: `color` and `sketch` [3,H,W] of `size`, `reference` [3,R,R] (R = `reference_size`), in [-1,1].

        The sketch is white lines on black (+1 on -1). What is cropped away, the mirroring and the deformation of the
        reference follow from `seed`. The reference is the picture of that name in `reference/`, whole, else the same
        part of the color picture. Raises UnreadablePicture.
        """
        hashed = np.random.SeedSequence([PICTURE_STREAM, seed]).generate_state(1)[0]
        generator = torch.Generator().manual_seed(int(hashed))
        offset, mirror = torch.rand(2, generator=generator).tolist()
        color, sketch = self._pair(name)
        part = crop((color.height, color.width), size, offset)
        square = (reference_size, reference_size)
        if name in self.reference:
            reference = _pixels(self.reference.read(name), WHOLE, square)
        else:
            reference = _pixels(color, part, square)
        sample = {
            "color": rgb_on(_pixels(color, part, size), paper=1.0, name="color"),
            "sketch": self._lines(name, _pixels(sketch, part, size), polarity),
            "reference": rgb_on(reference, paper=1.0, name="reference"),
        }
        sample = {key: value.movedim(-1, 1) * 2 - 1 for key, value in sample.items()}
        if mirror < 0.5:
            sample = {key: value.flip(-1) for key, value in sample.items()}
        sample["reference"] = deform(sample["reference"], deformation, generator)
        return {key: value[0] for key, value in sample.items()}

    def _pair(self, name: str) -> tuple[Image.Image, Image.Image]:
        color, sketch = self.color.read(name), self.sketch.read(name)
        distortion = color.width * sketch.height / (color.height * sketch.width)
        if max(distortion, 1 / distortion) > MAX_DISTORTION:
            raise UnreadablePicture(
                f"{self.sketch.label(name)}: is {sketch.width}x{sketch.height}, another shape than its picture's "
                f"{color.width}x{color.height}"
            )
        return color, sketch

    def _lines(self, name: str, pixels: torch.Tensor, polarity: str) -> torch.Tensor:
        try:
            return white_on_black(pixels, polarity)[..., None].expand(-1, -1, -1, 3)
        except ValueError as error:
            raise UnreadablePicture(f"{self.sketch.label(name)}: {error}") from error


def _needed(root: Path, kind: str) -> Store:
    store = Store.find(root, kind)
    if store and store.files:
        return store
    wrong = f"no picture in {store.path.name}" if store else f"neither a folder {kind} nor an archive {kind}.zip"
    raise ValueError(
        f"{root}: there is {wrong}. Put the pictures in color/ and their sketches, by the same names, in sketch/."
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _log_skipped(what: object) -> None:
    logger.warning("skipped, cannot be used: %s", what)


def _nothing_readable(root: Path, count: int, first: object) -> str:
    return (
        f"{root}: none of its {count} pictures can be used; the first: {first}. Look at the files, or make them anew."
    )


def _pixels(image: Image.Image, part: Part, size: Size) -> torch.Tensor:
    """The part of a picture, resized, as [1,H,W,C] in 0..1 with 3 channels, or 4 with alpha."""
    box = (part[0] * image.width, part[1] * image.height, part[2] * image.width, part[3] * image.height)
    resized = image.resize(size[::-1], Image.Resampling.BICUBIC, box)
    return torch.from_numpy(np.array(resized))[None] / 255


def crop(size: Size, target: Size, offset: float) -> Part:
    """The largest part of a picture of `size` in the shape of `target`; `offset` 0..1 says where along the side cut."""
    ratio = size[1] * target[0] / (size[0] * target[1])  # above 1: wider than the target
    width, height = min(1.0, 1 / ratio), min(1.0, ratio)
    left, top = offset * (1 - width), offset * (1 - height)
    return left, top, min(1.0, left + width), min(1.0, top + height)


def kept(size: Size, target: Size) -> float:
    """The share of a picture that is left when it is cropped to the shape of `target`."""
    _, _, width, height = crop(size, target, offset=0)
    return width * height


def bucket_sizes(resolution: int, multiple: int, max_aspect: float) -> list[Size]:
    """Sizes of about `resolution` ** 2 pixels, sides multiples of `multiple`, aspect ratios up to `max_aspect`.

    `resolution` is a multiple of `multiple`, so that the square is among them.
    """
    sizes = {(resolution, resolution)}
    for short in range(multiple, resolution, multiple):
        long = round(resolution**2 / short / multiple) * multiple
        if long <= max_aspect * short:
            sizes |= {(short, long), (long, short)}
    return sorted(sizes)


def sort_into_buckets(sizes: list[Size], settings: Settings) -> dict[Size, list[int]]:
    """Which pictures, by their place in `sizes`, come in which size; at each resolution the one that crops least."""
    by_resolution = {r: bucket_sizes(r, settings.multiple, settings.max_aspect) for r in sorted(settings.resolutions)}
    members: dict[Size, list[int]] = {}
    for index, size in enumerate(sizes):
        for resolution, choices in by_resolution.items():
            bucket = max(choices, key=lambda choice: kept(size, choice))
            enlargement = max(bucket[0] / size[0], bucket[1] / size[1])
            if enlargement <= MAX_ENLARGEMENT or resolution == min(by_resolution):
                members.setdefault(bucket, []).append(index)
    return dict(sorted(members.items()))


class Place(NamedTuple):
    """One row of a batch: which picture of the bucket of `size`, and the seed of all that is random about it."""

    size: Size
    member: int
    seed: int


def places(buckets: dict[Size, list[int]], batch_size: int, seed: int, start: int = 0) -> Iterator[list[Place]]:
    """Batch after batch, each of one size, from step `start` on and without end.

    Sizes take turns in proportion to their pictures (in golden-ratio steps, the most even turns there are), and within
    a size each picture comes once before any comes again.
    """
    sizes = list(buckets)
    counts = np.array([len(members) for members in buckets.values()])
    bounds = counts.cumsum() / counts.sum()
    origin = np.random.default_rng(seed).random()

    def bucket_at(step: int | np.ndarray) -> np.ndarray:
        return np.searchsorted(bounds, (origin + step * GOLDEN_RATIO) % 1, side="right")

    turns = np.bincount(bucket_at(np.arange(start)), minlength=len(sizes))
    for step in itertools.count(start):
        bucket = int(bucket_at(step))
        rounds = (divmod(int(turns[bucket]) * batch_size + row, int(counts[bucket])) for row in range(batch_size))
        members = [int(_shuffled(seed, bucket, pass_, int(counts[bucket]))[place]) for pass_, place in rounds]
        seeds = np.random.SeedSequence([seed, step]).generate_state(batch_size, np.uint64) >> np.uint64(1)
        yield [Place(sizes[bucket], *row) for row in zip(members, seeds.tolist(), strict=True)]
        turns[bucket] += 1


@functools.lru_cache(maxsize=256)
def _shuffled(seed: int, bucket: int, pass_: int, count: int) -> np.ndarray:
    return np.random.default_rng([seed, bucket, pass_]).permutation(count)


class PictureDataset(Dataset):
    """What lies at a Place, as PictureFolder.load gives it, with its `seed` and the unreadable that were `skipped`.

    In place of what cannot be read comes the next picture of the bucket, or else any other; so all processes keep in
    step. Raises ValueError when none can be read.
    """

    def __init__(
        self, pictures: PictureFolder, buckets: dict[Size, list[int]], settings: Settings, deformation: Deformation
    ):
        self.pictures, self.buckets, self.settings, self.deformation = pictures, buckets, settings, deformation

    def __getitem__(self, place: Place) -> dict:
        members = self.buckets[place.size]
        skipped = []
        for index in itertools.chain(members[place.member :], members[: place.member], range(len(self.pictures))):
            try:
                sample = self.pictures.load(
                    self.pictures.names[index],
                    place.size,
                    place.seed,
                    self.settings.polarity,
                    self.settings.reference_size,
                    self.deformation,
                )
                return sample | {"seed": place.seed, "skipped": skipped}
            except UnreadablePicture as error:
                skipped.append(str(error))
        raise ValueError(_nothing_readable(self.pictures.root, len(self.pictures), skipped[0]))


def batches(
    pictures: PictureFolder,
    settings: Settings,
    deformation: Deformation,
    seed: int,
    start: int = 0,
    process: int = 0,
    processes: int = 1,
    accumulation: int = 1,
) -> Iterator[dict[str, torch.Tensor]]:
    """One process's parts of the batches, from step `start` on and without end: `accumulation` parts for each step.

    A part holds B = batch_size / (processes * accumulation) samples: `color` and `sketch` [B,3,H,W], `reference`
    [B,3,R,R], all in [-1,1], and `seed` [B] (long), from which whatever else is random about a sample is to follow.
    Logs each picture that cannot be read once. Raises ValueError when the batch cannot be divided so, or nothing can be
    read.
    """
    parts = processes * accumulation
    if settings.batch_size % parts:
        raise ValueError(
            f"batch_size: {settings.batch_size} pictures cannot be divided over {processes} processes of "
            f"{accumulation} parts each (accumulation). Take a multiple of {parts}."
        )
    buckets = sort_into_buckets(pictures.sizes, settings)
    rows = settings.batch_size // parts
    loader = DataLoader(
        PictureDataset(pictures, buckets, settings, deformation),
        batch_sampler=(
            batch[(part * processes + process) * rows :][:rows]
            for batch in places(buckets, settings.batch_size, seed, start)
            for part in range(accumulation)
        ),
        num_workers=settings.workers,
        collate_fn=_collate,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # else the loader would draw from the training's own
    )
    named = set()
    for batch in loader:
        for what in batch.pop("skipped"):
            if what not in named:
                named.add(what)
                _log_skipped(what)
        yield batch


def _collate(samples: list[dict]) -> dict:
    skipped = [what for sample in samples for what in sample.pop("skipped")]
    return default_collate(samples) | {"skipped": skipped}

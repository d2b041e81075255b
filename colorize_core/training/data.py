"""Pictures to learn from: `color/` and `sketch/`, folders or zip archives of the same names, read as samples."""

import copy
import functools
import hashlib
import itertools
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image

from ..images import SIZE_MULTIPLE, rgb_on
from ..sketch import white_on_black
from .buckets import WHOLE, CropBox, crop_box
from .deformation import Deformation, deform
from .pictures import Size, Store, UnreadablePicture, first_names
from .settings import RelativePath

MAX_DISTORTION = 1.02  # aspect ratio of a sketch to that of its picture
PICTURE_STREAM = 2  # keeps what is drawn for a picture apart from what its loss draws by the same seed

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataSettings:
    """Which pictures, and how they are cut.

    `batch_size` counts the pictures of one step, over all processes and accumulated parts. Pictures are cropped to
    about `resolution` ** 2 pixels, in the aspect ratio nearest to their own that is no longer than `max_aspect`, with
    sides of multiples of `multiple`. Of several resolutions a picture appears at each that it is large enough for.
    `polarity` is that of the sketches. References are squashed to a square of `reference_size`, CLIP's own by default.
    `workers` processes read pictures in advance; with 0 the training waits for each.
    """

    root: RelativePath
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
            log_skipped(error)
        if len(unreadable) == len(names):
            raise ValueError(nothing_readable(root, len(names), unreadable[0]))
        readable = [(name, size) for name, size in zip(names, sizes, strict=True) if isinstance(size, tuple)]
        self.names, self.sizes = (list(column) for column in zip(*readable, strict=True))

    @functools.cached_property
    def digest(self) -> str:
        """Twelve digits that tell these pictures from others, by their names and sizes."""
        digest = hashlib.sha256()
        for row in zip(self.names, self.sizes, strict=True):
            digest.update(repr(row).encode())
        return digest.hexdigest()[:12]

    def split(self, share: float) -> "tuple[PictureFolder, PictureFolder | None]":
        """The pictures to train on, and a share that is held out, which their names decide; None for less than two."""
        limit = share * 2**32
        held_out = [int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) < limit for name in self.names]
        if sum(held_out) < 2 or all(held_out):
            return self, None
        return self._part([not held for held in held_out]), self._part(held_out)

    def _part(self, chosen: list[bool]) -> "PictureFolder":
        part = copy.copy(self)
        part.__dict__.pop("digest", None)
        part.names, part.sizes = ([*itertools.compress(rows, chosen)] for rows in (self.names, self.sizes))
        return part

    def __len__(self) -> int:
        return len(self.names)

    def _with_sketch(self) -> list[str]:
        lonely = [name for name in self.color.files if name not in self.sketch]
        if len(lonely) == len(self.color.files):
            raise ValueError(
                f"{self.root}: no picture of {self.color.path.name} ({first_names(lonely)}) has a sketch of the same "
                f"name in {self.sketch.path.name} ({first_names(list(self.sketch.files))}). Give each sketch its "
                "picture's name."
            )
        if lonely:
            logger.warning(
                "%s: %d of %d pictures have no sketch of the same name in %s and are left out: %s",
                *(self.root, len(lonely), len(self.color.files), self.sketch.path.name, first_names(lonely)),
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
        box = crop_box((color.height, color.width), size, offset)
        square = (reference_size, reference_size)
        if name in self.reference:
            reference = _pixels(self.reference.read(name), WHOLE, square)
        else:
            reference = _pixels(color, box, square)
        sample = {
            "color": rgb_on(_pixels(color, box, size), paper=1.0, name="color"),
            "sketch": self._lines(name, _pixels(sketch, box, size), polarity),
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


def log_skipped(what: object) -> None:
    logger.warning("skipped, cannot be used: %s", what)


def nothing_readable(root: Path, count: int, first: object) -> str:
    return (
        f"{root}: none of its {count} pictures can be used; the first: {first}. Look at the files, or make them anew."
    )


def _pixels(image: Image.Image, box: CropBox, size: Size) -> torch.Tensor:
    """The part of a picture, resized, as [1,H,W,C] in 0..1 with 3 channels, or 4 with alpha."""
    edges = (box[0] * image.width, box[1] * image.height, box[2] * image.width, box[3] * image.height)
    resized = image.resize(size[::-1], Image.Resampling.BICUBIC, edges)
    return torch.from_numpy(np.array(resized))[None] / 255

"""Pictures to learn from: `color/` and `sketch/`, folders or zip archives of the same names, read as samples."""

import copy
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
from .index import PICTURE_KINDS, PictureIndex, SortedFiles, Texts, load_index, lots_of, save_index, stamp_of
from .pictures import MIN_SIDE, Size, Store, UnreadablePicture, first_names
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
    """The pictures of `root` that have a sketch: their `names`, sorted, and the `sizes` (height, width) of them.

    `root` holds `color/` and `sketch/`, and may hold `reference/`: folders, or archives such as `color.zip`, with the
    same names in each; endings, sizes and modes may differ. What cannot be read or lacks its sketch is left out and
    named in the log. The list is saved in the file `cache`, if given, and read from it until a picture comes or goes.
    Raises ValueError if a folder is missing or nothing is left.
    """

    def __init__(self, root: Path, cache: Path | None = None):
        self.root = root
        stamp = stamp_of(root) if cache else ""
        index = cache and load_index(cache, stamp)
        if index is None:
            index = _listed(root, stamp)
            if cache:
                save_index(index, cache)
        self.index, self.rows = index, np.arange(len(index.names))
        self.color, self.sketch, self.reference = (
            Store(Store.path_of(root, kind), SortedFiles(index.names, index.files[kind])) for kind in PICTURE_KINDS
        )

    @property
    def names(self) -> list[str]:
        return [self.name(i) for i in range(len(self))]

    def name(self, i: int) -> str:
        return self.index.names[self.rows[i]]

    @property
    def sizes(self) -> np.ndarray:
        return self.index.sizes[self.rows]

    def split(self, share: float) -> "tuple[PictureFolder, PictureFolder | None]":
        """The pictures to train on, and a share that is held out, which their names decide; None for less than two."""
        held_out = self.index.lots < share
        if held_out.sum() < 2 or held_out.all():
            return self, None
        parts = [copy.copy(self) for _ in range(2)]
        for part, chosen in zip(parts, (~held_out, held_out), strict=True):
            part.rows = np.flatnonzero(chosen)
        return tuple(parts)

    def __len__(self) -> int:
        return len(self.rows)

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
        square, aspect = (reference_size, reference_size), size[1] / size[0]
        if name in self.reference:
            picture = self.reference.read(name)
            reference, aspect = _pixels(picture, WHOLE, square), picture.width / picture.height
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
        sample["reference"] = deform(sample["reference"], deformation, generator, aspect)
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


def _listed(root: Path, stamp: str) -> PictureIndex:
    """The usable pictures of `root`, by name, with the sizes that their heads tell."""
    color, sketch = (_needed(root, kind) for kind in ("color", "sketch"))
    reference = Store.find(root, "reference") or Store(root / "reference", {})
    names = _with_sketch(root, color, sketch)
    with ThreadPoolExecutor(8) as threads:
        sizes = list(threads.map(lambda name: _size(color, name), names))
    unreadable = [size for size in sizes if isinstance(size, UnreadablePicture)]
    for error in unreadable:
        log_skipped(error)
    if len(unreadable) == len(names):
        raise ValueError(nothing_readable(root, len(names), unreadable[0]))
    found = sorted((name, size) for name, size in zip(names, sizes, strict=True) if isinstance(size, tuple))
    names = [name for name, _ in found]
    files = {
        kind: Texts.of(store.files.get(name, "") for name in names)
        for kind, store in zip(PICTURE_KINDS, (color, sketch, reference), strict=True)
    }
    sizes = np.array([size for _, size in found], np.int32)
    return PictureIndex(stamp, Texts.of(names), sizes, lots_of(names), files)


def _with_sketch(root: Path, color: Store, sketch: Store) -> list[str]:
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


def _pixels(image: Image.Image, box: CropBox, size: Size) -> torch.Tensor:
    """The part of a picture, resized, as [1,H,W,C] in 0..1 with 3 channels, or 4 with alpha."""
    edges = (box[0] * image.width, box[1] * image.height, box[2] * image.width, box[3] * image.height)
    resized = image.resize(size[::-1], Image.Resampling.BICUBIC, edges)
    return torch.from_numpy(np.array(resized))[None] / 255

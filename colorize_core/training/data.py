"""Pictures to learn from: `color/` and `sketch/`, folders or zip archives of the same names, or tar shards."""

import copy
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
from .index import PICTURE_KINDS, SortedFiles, load_index, save_index, stamp_of
from .listing import is_sharded, list_pictures
from .pictures import Size, Store, UnreadablePicture
from .settings import RelativePath

MAX_DISTORTION = 1.02  # aspect ratio of a sketch to that of its picture
PICTURE_STREAM = 2  # keeps what is drawn for a picture apart from what its loss draws by the same seed


@dataclass(frozen=True)
class DataSettings:
    """Which pictures, and how they are cut.

    `batch_size` counts the pictures of one step, over all processes and accumulated parts. Pictures are cropped to
    about `resolution` ** 2 pixels, in the aspect ratio nearest to their own that is no longer than `max_aspect`, with
    sides of multiples of `multiple`. Of several resolutions a picture appears at each that it is large enough for.
    `polarity` is that of the sketches. References are squashed to a square of `reference_size`, CLIP's own by default.
    `workers` processes read pictures in advance; with 0 the training waits for each. In the folder `cache`, if given,
    pictures are encoded once, in `cache_versions` versions each, and a training sees these alone.
    """

    root: RelativePath
    batch_size: int = 16
    resolutions: tuple[int, ...] = (512,)
    multiple: int = SIZE_MULTIPLE
    max_aspect: float = 2.0
    polarity: Literal["auto", "black lines on white", "white lines on black"] = "auto"
    reference_size: int = 224
    workers: int = 2
    cache: RelativePath | None = None
    cache_versions: int = 4

    def __post_init__(self):
        least_of = {"batch_size": 1, "multiple": 8, "max_aspect": 1, "reference_size": 1, "workers": 0}
        for name, least in (least_of | {"cache_versions": 1}).items():
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
    same names in each; endings, sizes and modes may differ. Or it holds tar shards (`shards`). What cannot be read or
    lacks its sketch is left out and named in the log. The list is saved in the file `cache`, if given, and read from it
    until a picture comes or goes. Raises ValueError if a folder is missing or nothing is left.
    """

    def __init__(self, root: Path, cache: Path | None = None):
        self.root = root
        stamp = stamp_of(root) if cache else ""
        index = cache and load_index(cache, stamp)
        if index is None:
            index = list_pictures(root, stamp)
            if cache:
                save_index(index, cache)
        self.index, self.rows = index, np.arange(len(index.names))
        self.is_sharded = is_sharded(root)
        self.color, self.sketch, self.reference = (
            Store(root if self.is_sharded else Store.path_of(root, kind), SortedFiles(index.names, index.files[kind]))
            for kind in PICTURE_KINDS
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


def _pixels(image: Image.Image, box: CropBox, size: Size) -> torch.Tensor:
    """The part of a picture, resized, as [1,H,W,C] in 0..1 with 3 channels, or 4 with alpha."""
    edges = (box[0] * image.width, box[1] * image.height, box[2] * image.width, box[3] * image.height)
    resized = image.resize(size[::-1], Image.Resampling.BICUBIC, edges)
    return torch.from_numpy(np.array(resized))[None] / 255

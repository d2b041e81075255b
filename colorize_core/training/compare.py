"""The pictures that an evaluation compares, checked to fit together, and how each kind is read."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..images import rgb_on
from ..sketch import white_on_black
from .pictures import Store, first_names


@dataclass(frozen=True)
class ComparedPictures:
    """The pictures to compare, each kind by the results' names; None where it was not given."""

    results: Store
    truth: Store | None = None
    references: Store | None = None
    sketches: Store | None = None
    masks: Store | None = None
    reference_masks: Store | None = None


def open_pictures(results: Path, **others: Path | None) -> ComparedPictures:
    """Finds the pictures of all kinds and makes sure that they fit together, before anything is measured.

    Raises ValueError for a folder without pictures, a result without its partner, and sizes that differ.
    """
    pictures = ComparedPictures(
        open_store(results), **{kind: path and open_store(path) for kind, path in others.items()}
    )
    for store in (pictures.truth, pictures.references, pictures.sketches, pictures.masks, pictures.reference_masks):
        if store and (missing := [name for name in pictures.results.files if name not in store]):
            raise ValueError(
                f"{store.path}: has no picture for {len(missing)} of the {len(pictures.results.files)} results: "
                f"{first_names(missing)}. "
                "Give it the result's name (the ending may differ), or take the result away."
            )
    same_size = [(pictures.results, other) for other in (pictures.truth, pictures.sketches, pictures.masks) if other]
    if pictures.reference_masks:
        same_size.append((pictures.references, pictures.reference_masks))
    for first, second in same_size:
        for name in pictures.results.files:
            _check_sizes(first, second, name)
    return pictures


def open_store(path: Path) -> Store:
    """The pictures of a folder or .zip, or of the .zip of a folder's name. Raises ValueError where there is none."""
    store = Store.at(path) or Store.find(path.parent, path.name)
    if store is None:
        raise ValueError(f"{path}: there is no such folder, and no .zip of that name. Look at how it is spelled.")
    if not store.files:
        raise ValueError(f"{path}: there is no picture in it. Give a folder or .zip of .png, .jpg or .webp files.")
    return store


def _check_sizes(first: Store, second: Store, name: str) -> None:
    (height, width), (other_height, other_width) = first.size(name), second.size(name)
    if (height, width) != (other_height, other_width):
        raise ValueError(
            f"{first.label(name)}: is {width}x{height} pixels, {second.label(name)} is {other_width}x{other_height}. "
            "Bring them to one size (for results, the node Crop to Sketch with resize_to_sketch does)."
        )


def read_picture(store: Store, name: str) -> torch.Tensor:
    """[1,3,H,W] in 0..1; where it is transparent, white. Raises UnreadablePicture."""
    image = torch.from_numpy(np.array(store.read(name)))[None] / 255
    return rgb_on(image, paper=1.0, name=name).movedim(-1, 1)


def read_sketch(store: Store, name: str) -> torch.Tensor:
    """Lines 1 on paper 0, [1,H,W], of a drawing of either polarity. Raises ValueError if that cannot be told."""
    with naming(store.label(name)):
        return white_on_black(torch.from_numpy(np.array(store.read(name)))[None] / 255)


def read_regions(store: Store, name: str) -> torch.Tensor:
    """The labels 0..255 of a region map [1,H,W]. Raises ValueError for a picture that is no map of 8 bits."""
    with naming(store.label(name)), store.open(name) as file, Image.open(file) as image:
        if image.mode not in ("L", "P", "1"):
            raise ValueError(
                f"is a picture of mode {image.mode}, no region map. "
                "Save it as PNG with 8 bits a pixel (gray or palette) that are the number of its region."
            )
        return torch.from_numpy(np.array(image).astype(np.int64))[None]


@contextmanager
def naming(label: str) -> Iterator[None]:
    """Puts the file's name before what is wrong with its content."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise ValueError(f"{label}: {error}") from error

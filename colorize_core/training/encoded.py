"""Pictures encoded once, before the training: latents and tokens of some versions of each, in a folder on the disk.

A version is a picture as one sample has it: its crop, its mirroring and its reference's deformation.
"""

import functools
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device, tqdm
from torch.utils.data import DataLoader, Dataset

from ..sketch import LATENT_DOWNSCALE
from .buckets import PlannedRow
from .encoders import Encoders
from .listing import log_skipped
from .loader import PictureDataset, collate_samples
from .pictures import Size

VERSION_STREAM = 3  # keeps the seeds of versions apart from those of samples
ENCODED_AT_ONCE = 4  # encoded at once
BLOCK = 64  # batches after which what is encoded counts as done
ARRAYS = {"latent": np.float16, "tokens": np.float16, "sketch": np.uint8, "done": np.uint8}


@dataclass(frozen=True)
class EncodedPictures(Dataset):
    """Arrays [members, versions, ...] in `folder` for each size of pictures: `latent` and `tokens` in half precision,
    `sketch` in 8 bits, and `done`, 1 where they are filled in.

    As a dataset it gives what a PlannedRow names: `latent` [4,h,w], `tokens` [N,D] and `sketch` [3,8h,8w], of the
    version that the row's seed decides.
    """

    folder: Path
    versions: int

    def __getitem__(self, planned: PlannedRow) -> dict:
        arrays, place = open_arrays(self.folder, planned.size), (planned.member, planned.seed % self.versions)
        names = ("latent", "tokens", "sketch")
        latent, tokens, sketch = (torch.from_numpy(arrays[name][place].copy()) for name in names)
        sample = {"latent": latent, "tokens": tokens, "sketch": (sketch / 127.5 - 1).expand(3, -1, -1)}
        return sample | {"seed": planned.seed, "skipped": []}


@functools.lru_cache
def open_arrays(folder: Path, size: Size) -> dict[str, np.memmap]:
    return {name: np.lib.format.open_memmap(_file(folder, size, name), mode="r+") for name in ARRAYS}


def encode_pictures(
    accelerator: Accelerator, dataset: PictureDataset, encoders: Encoders, folder: Path, identity: Mapping[str, Any]
) -> EncodedPictures:
    """The pictures of `dataset` in `cache_versions` versions; those that `folder` lacks are encoded now.

    `identity` is what their numbers depend on; those of another lie beside them. Raises ValueError where the folder
    cannot be written to or has no room for them.
    """
    digest = hashlib.sha256(json.dumps(dict(identity), sort_keys=True).encode()).hexdigest()[:12]
    encoded = EncodedPictures(folder / digest, dataset.settings.cache_versions)
    side, reference = dataset.settings.multiple, dataset.settings.reference_size
    blank = {"color": torch.zeros(1, 3, side, side), "reference": torch.zeros(1, 3, reference, reference)}
    latent, tokens = encoders.encode(send_to_device(blank, accelerator.device))
    with accelerator.main_process_first():
        for size, members in dataset.buckets.items():
            channels, sides = latent.shape[1], (side // LATENT_DOWNSCALE for side in size)
            shapes = {"latent": (channels, *sides), "tokens": tokens.shape[1:], "sketch": size, "done": ()}
            for name, shape in shapes.items():
                _allocate(_file(encoded.folder, size, name), (len(members), encoded.versions, *shape), ARRAYS[name])
    for size in dataset.buckets:
        _fill(accelerator, dataset, encoders, encoded, size)
    accelerator.wait_for_everyone()
    return encoded


def _file(folder: Path, size: Size, name: str) -> Path:
    return folder / f"{size[0]}x{size[1]}-{name}.npy"


def _allocate(path: Path, shape: tuple[int, ...], kind: type) -> None:
    """An array of zeros in a file, unless it is there; with its room on the disk, where the system can reserve it."""
    if path.exists():
        return
    unfinished = path.with_suffix(".unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.lib.format.open_memmap(unfinished, mode="w+", dtype=kind, shape=shape)
        if hasattr(os, "posix_fallocate"):  # else a full disk would end the process without a word
            with unfinished.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, unfinished.stat().st_size)
        unfinished.rename(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise ValueError(
            f"data.cache: {path.parent.parent} cannot hold the encoded pictures ({error.strerror}): make room, set "
            "fewer data.cache_versions, or name another folder."
        ) from error


def _fill(
    accelerator: Accelerator, dataset: PictureDataset, encoders: Encoders, encoded: EncodedPictures, size: Size
) -> None:
    """Encodes this process's part of what is not done yet of a size."""
    arrays = open_arrays(encoded.folder, size)
    flat = {name: array.reshape(-1, *array.shape[2:]) for name, array in arrays.items()}
    pending = np.flatnonzero(flat["done"] == 0)[accelerator.process_index :: accelerator.num_processes]
    if not len(pending):
        return
    groups = np.split(pending, range(ENCODED_AT_ONCE, len(pending), ENCODED_AT_ONCE))
    loader = DataLoader(
        dataset,
        batch_sampler=_planned(groups, size, encoded.versions),
        num_workers=dataset.settings.workers,
        collate_fn=collate_samples,
        generator=torch.Generator(),  # else the loader would draw from the training's own
    )
    filled = []
    bar = tqdm(groups, f"encoding {size[1]}x{size[0]}", mininterval=1)  # of a loader it would take an iterator too many
    for rows, part in zip(bar, loader, strict=True):
        for what in part["skipped"]:
            log_skipped(what)
        latent, tokens = encoders.encode(send_to_device(part, accelerator.device))
        sketch = part["sketch"][:, 0].add(1).mul(127.5).round().byte()
        for name, values in (("latent", latent), ("tokens", tokens), ("sketch", sketch)):
            flat[name][rows] = values.cpu().numpy()
        filled.append(rows)
        if len(filled) == BLOCK or rows is groups[-1]:  # first what is done, then that it is
            for array in arrays.values():
                array.flush()
            flat["done"][np.concatenate(filled)] = 1
            filled = []


def _planned(groups: list[np.ndarray], size: Size, versions: int) -> Iterator[list[PlannedRow]]:
    for rows in groups:
        yield [PlannedRow(size, int(row) // versions, _seed_of(size, int(row))) for row in rows]


def _seed_of(size: Size, row: int) -> int:
    return int(np.random.SeedSequence([VERSION_STREAM, *size, row]).generate_state(1, np.uint64)[0] >> np.uint64(1))

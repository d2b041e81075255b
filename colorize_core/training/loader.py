"""Batches of pictures to learn from.

A batch follows from the seed and the number of its step alone. So it is the same after a resume, and several processes
take their parts of the same one.
"""

import itertools
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from .buckets import PlannedRow, batch_plan, sort_into_buckets
from .data import DataSettings, PictureFolder
from .deformation import Deformation
from .listing import log_skipped, nothing_readable
from .pictures import Size, UnreadablePicture


class PictureDataset(Dataset):
    """What a PlannedRow names, as PictureFolder.load gives it, with its `seed` and the unreadable that were `skipped`.

    In place of what cannot be read comes the next picture of the bucket, or else any other; so all processes keep in
    step. Raises ValueError when none can be read.
    """

    def __init__(
        self, pictures: PictureFolder, buckets: dict[Size, np.ndarray], settings: DataSettings, deformation: Deformation
    ):
        self.pictures, self.buckets, self.settings, self.deformation = pictures, buckets, settings, deformation

    def __getitem__(self, planned: PlannedRow) -> dict:
        members = self.buckets[planned.size]
        skipped = []
        following = (members[(planned.member + i) % len(members)] for i in range(len(members)))  # no copy of so many
        for index in itertools.chain(following, range(len(self.pictures))):
            try:
                sample = self.pictures.load(
                    self.pictures.name(index),
                    planned.size,
                    planned.seed,
                    self.settings.polarity,
                    self.settings.reference_size,
                    self.deformation,
                )
                return sample | {"seed": planned.seed, "skipped": skipped}
            except UnreadablePicture as error:
                skipped.append(str(error))
        raise ValueError(nothing_readable(self.pictures.root, len(self.pictures), skipped[0]))


def picture_dataset(pictures: PictureFolder, settings: DataSettings, deformation: Deformation) -> PictureDataset:
    buckets = sort_into_buckets(pictures.sizes, settings.resolutions, settings.multiple, settings.max_aspect)
    return PictureDataset(pictures, buckets, settings, deformation)


def batches(
    pictures: PictureDataset,
    seed: int,
    start: int = 0,
    process: int = 0,
    processes: int = 1,
    accumulation: int = 1,
    encoded: Dataset | None = None,
) -> Iterator[dict[str, torch.Tensor]]:
    """One process's parts of the batches, from step `start` on and without end: `accumulation` parts for each step.

    A part holds B = batch_size / (processes * accumulation) samples: `color` and `sketch` [B,3,H,W], `reference`
    [B,3,R,R], all in [-1,1], and `seed` (B numbers), from which whatever else is random about a sample is to follow.
    Where pictures are `encoded` already it holds what that dataset gives of them. Logs each picture that cannot be read
    once. Raises ValueError when the batch cannot be divided so, or nothing can be read.
    """
    settings, parts = pictures.settings, processes * accumulation
    if settings.batch_size % parts:
        raise ValueError(
            f"batch_size: {settings.batch_size} pictures cannot be divided over {processes} processes of "
            f"{accumulation} parts each (accumulation). Take a multiple of {parts}."
        )
    rows = settings.batch_size // parts
    plan = batch_plan(pictures.buckets, settings.batch_size, seed, start, pictures.pictures.is_sharded)
    loader = DataLoader(
        encoded or pictures,
        batch_sampler=(
            batch[(part * processes + process) * rows :][:rows] for batch in plan for part in range(accumulation)
        ),
        num_workers=settings.workers,
        collate_fn=collate_samples,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # else the loader would draw from the training's own
    )
    named = set()
    for batch in loader:
        for what in batch.pop("skipped"):
            if what not in named:
                named.add(what)
                log_skipped(what)
        yield batch


def collate_samples(samples: list[dict]) -> dict:
    """A part of their tensors as a batch, and their `seed` and `skipped` as lists."""
    skipped = [what for sample in samples for what in sample.pop("skipped")]
    seeds = [sample.pop("seed") for sample in samples]  # no tensor: what draws by them is not to wait for a device
    return default_collate(samples) | {"seed": seeds, "skipped": skipped}

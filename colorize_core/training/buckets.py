"""Which pictures come in which size, and when: batch after batch, each of one size."""

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from .pictures import Size

MAX_ENLARGEMENT = 1.25  # of a side: a picture that a resolution would enlarge more is left to smaller ones
NEIGHBORS = 256  # pictures of shards that are read together, in an order of its own for each pass
WINDOW = 16 * NEIGHBORS  # of that order, within which pictures are shuffled
GOLDEN_RATIO = (5**0.5 - 1) / 2

CropBox = tuple[float, float, float, float]  # left, top, right, bottom of a picture, as shares of its sides
WHOLE: CropBox = (0.0, 0.0, 1.0, 1.0)


def crop_box(size: Size, target: Size, offset: float) -> CropBox:
    """The largest part of a picture of `size` in the shape of `target`; `offset` 0..1 says where along the side cut."""
    ratio = size[1] * target[0] / (size[0] * target[1])  # above 1: wider than the target
    width, height = min(1.0, 1 / ratio), min(1.0, ratio)
    left, top = offset * (1 - width), offset * (1 - height)
    return left, top, min(1.0, left + width), min(1.0, top + height)


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


def sort_into_buckets(
    sizes: np.ndarray, resolutions: tuple[int, ...], multiple: int, max_aspect: float
) -> dict[Size, np.ndarray]:
    """Which pictures, by their position in `sizes` [N,2] (height, width), come in which size.

    At each resolution that they are large enough for (and at the smallest whatever they are) it is the size that crops
    least.
    """
    height, width = np.asarray(sizes, np.float64).T[..., None]
    members: dict[Size, np.ndarray] = {}
    for resolution in sorted(resolutions):
        choices = np.array(bucket_sizes(resolution, multiple, max_aspect))
        ratio = width * choices[:, 0] / (height * choices[:, 1])
        chosen = np.minimum(ratio, 1 / ratio).argmax(axis=1)  # the share of a picture that is left
        enlargement = np.maximum(choices[chosen, 0] / height[:, 0], choices[chosen, 1] / width[:, 0])
        large_enough = (enlargement <= MAX_ENLARGEMENT) | (resolution == min(resolutions))
        for number, bucket in enumerate(choices.tolist()):
            positions = np.flatnonzero((chosen == number) & large_enough)
            if len(positions):
                members[tuple(bucket)] = positions
    return dict(sorted(members.items()))


class PlannedRow(NamedTuple):
    """One row of a batch: which picture of the bucket of `size`, and the seed of all that is random about it."""

    size: Size
    member: int
    seed: int


def batch_plan(
    buckets: Mapping[Size, Sequence[int]], batch_size: int, seed: int, start: int = 0, is_sharded: bool = False
) -> Iterator[list[PlannedRow]]:
    """Batch after batch, each of one size, from step `start` on and without end.

    Sizes take turns in proportion to their pictures (in golden-ratio steps, the most even turns there are), and within
    a size each picture comes once before any comes again; where pictures are sharded, neighbors at about the same time.
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
        count = int(counts[bucket])
        rounds = (divmod(int(turns[bucket]) * batch_size + row, count) for row in range(batch_size))
        members = [int(_shuffled(seed, bucket, pass_, count, is_sharded)[place]) for pass_, place in rounds]
        seeds = np.random.SeedSequence([seed, step]).generate_state(batch_size, np.uint64) >> np.uint64(1)
        yield [PlannedRow(sizes[bucket], *row) for row in zip(members, seeds.tolist(), strict=True)]
        turns[bucket] += 1


@functools.lru_cache(maxsize=64)
def _shuffled(seed: int, bucket: int, pass_: int, count: int, is_sharded: bool) -> np.ndarray:
    rng = np.random.default_rng([seed, bucket, pass_])
    if not is_sharded:
        return rng.permutation(count)
    firsts = rng.permutation(np.arange(0, count, NEIGHBORS))
    order = np.concatenate([np.arange(first, min(first + NEIGHBORS, count)) for first in firsts])
    for first in range(0, count, WINDOW):
        rng.shuffle(order[first : first + WINDOW])
    return order

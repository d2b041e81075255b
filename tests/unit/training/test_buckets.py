"""Which pictures come in which size, and when."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_pictures import assert_same, first_batches, make_folder

from colorize_core.training import buckets
from colorize_core.training.buckets import batch_plan, bucket_sizes
from colorize_core.training.data import PictureFolder
from colorize_core.training.deformation import Deformation

SIDES = st.integers(1, 3000)


RESOLUTIONS = st.builds(
    lambda multiple, times: (multiple * times, multiple), st.sampled_from([8, 32, 64]), st.integers(1, 16)
)


COUNTS = st.lists(st.integers(1, 9), min_size=1, max_size=5)


def sort(sizes: list[tuple[int, int]], resolutions: tuple[int, ...], multiple: int = 64) -> dict:
    members = buckets.sort_into_buckets(np.array(sizes), resolutions, multiple, max_aspect=2)
    return {size: positions.tolist() for size, positions in members.items()}


@settings(deadline=None)
@given(RESOLUTIONS, st.floats(1, 4))
def test_bucket_sizes_are_multiples_near_the_resolution_and_no_longer_than_asked(resolution, max_aspect):
    resolution, multiple = resolution
    sizes = bucket_sizes(resolution, multiple, max_aspect)
    assert (resolution, resolution) in sizes
    for height, width in sizes:
        assert height % multiple == 0 and width % multiple == 0
        assert max(height, width) <= max_aspect * min(height, width)
        assert abs(height * width - resolution**2) <= min(height, width) * multiple / 2
        assert (width, height) in sizes


@settings(deadline=None)
@given(st.tuples(SIDES, SIDES), RESOLUTIONS)
def test_any_picture_comes_in_the_size_that_crops_least(size, resolution):
    resolution, multiple = resolution
    ((chosen, members),) = sort([size], resolutions=(resolution,), multiple=multiple).items()
    assert members == [0]

    def cropped_pixels(target):
        height, width = size
        scale = min(height / target[0], width / target[1])
        return height * width - scale**2 * target[0] * target[1]

    least = min(cropped_pixels(target) for target in bucket_sizes(resolution, multiple, 2))
    assert cropped_pixels(chosen) <= least + 1e-6 * size[0] * size[1]


@settings(deadline=None)
@given(st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES), st.floats(0, 1))
def test_a_crop_has_the_shape_asked_for_and_lies_in_the_picture_from_edge_to_edge(size, target, offset):
    left, top, right, bottom = buckets.crop_box(size, target, offset)
    assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1
    assert (left, right) == (0, 1) or (top, bottom) == (0, 1)
    shape = (right - left) * size[1] / ((bottom - top) * size[0])
    assert shape == pytest.approx(target[1] / target[0], rel=1e-6)


def test_a_picture_appears_at_each_resolution_that_it_is_large_enough_for():
    members = sort([(512, 512), (1000, 1000), (230, 230), (40, 40)], resolutions=(512, 256, 128))
    assert members == {(128, 128): [0, 1, 2, 3], (256, 256): [0, 1, 2], (512, 512): [0, 1]}


def test_a_picture_is_enlarged_by_a_quarter_at_most_where_a_smaller_size_is_to_be_had():
    members = sort([(410, 410), (409, 409)], resolutions=(512, 256))
    assert members == {(256, 256): [0, 1], (512, 512): [0]}


def buckets_of(counts: list[int]) -> dict:
    return {(64, 64 * (i + 1)): list(range(count)) for i, count in enumerate(counts)}


def test_names_decide_which_pictures_are_held_out_whatever_others_there_are(mixed, tmp_path):
    few = PictureFolder(mixed)
    train, held_out = few.split(0.5)
    assert sorted([*train.names, *held_out.names]) == few.names and len(train) + len(held_out) == 9
    assert [few.sizes[few.names.index(name)].tolist() for name in held_out.names] == held_out.sizes.tolist()
    more = PictureFolder(make_folder(tmp_path, [(64, 64)] * 200))
    _, others = more.split(0.5)
    assert set(held_out.names) <= set(others.names) and 70 < len(others) < 130
    assert more.split(0) == (more, None) and few.split(1e-9) == (few, None)


@settings(deadline=None)
@given(COUNTS, st.integers(1, 6), st.integers(0, 2**40), st.integers(0, 60))
def test_a_batch_is_the_same_whichever_step_the_training_starts_from(counts, batch_size, seed, start):
    from_first = itertools.islice(batch_plan(buckets_of(counts), batch_size, seed), start, start + 5)
    resumed = itertools.islice(batch_plan(buckets_of(counts), batch_size, seed, start), 5)
    assert list(from_first) == list(resumed)


@settings(max_examples=50, deadline=None)
@given(COUNTS, st.integers(1, 6), st.integers(0, 2**40), st.integers(1, 200))
def test_each_picture_comes_as_often_as_any_other(counts, batch_size, seed, steps):
    batches = list(itertools.islice(batch_plan(buckets_of(counts), batch_size, seed), steps))
    assert all(len({place.size for place in batch}) == 1 and len(batch) == batch_size for batch in batches)
    for size, members in buckets_of(counts).items():
        visited = [place.member for batch in batches for place in batch if place.size == size]
        seen = [visited.count(member) for member in members]
        assert max(seen) - min(seen) <= 1
        share = steps * batch_size * len(members) / sum(counts)
        assert abs(len(visited) - share) <= 3 * batch_size


def test_each_pass_over_the_pictures_has_an_order_of_its_own():
    passes = [[place.member for place in batch] for batch in itertools.islice(batch_plan(buckets_of([50]), 50, 0), 3)]
    assert all(sorted(order) == list(range(50)) for order in passes)
    assert passes[0] != passes[1] != passes[2] != passes[0]


def test_seeds_differ_between_samples_and_between_runs():
    drawn = [
        [place.seed for batch in itertools.islice(batch_plan(buckets_of([9]), 4, seed), 200) for place in batch]
        for seed in (0, 1)
    ]
    assert len(set(drawn[0] + drawn[1])) == 1600 and min(drawn[0]) >= 0 and max(drawn[0]) < 2**63


@settings(max_examples=8, deadline=None)
@given(st.sampled_from([(1, 1), (1, 2), (1, 4), (2, 1), (2, 2), (4, 1)]), st.integers(0, 20))
def test_processes_and_accumulated_parts_share_one_batch(mixed, split, start):
    processes, accumulation = split
    (whole,) = first_batches(mixed, 1, Deformation(), start)
    shares = [
        first_batches(
            mixed, accumulation, Deformation(), start, process=process, processes=processes, accumulation=accumulation
        )
        for process in range(processes)
    ]
    parts = [share[part] for part in range(accumulation) for share in shares]
    seeds = [seed for part in parts for seed in part.pop("seed")]
    assert_same(whole, {key: torch.cat([part[key] for part in parts]) for key in parts[0]} | {"seed": seeds})


def test_a_batch_that_cannot_be_shared_out_evenly_is_an_error(mixed):
    with pytest.raises(ValueError, match=r"batch_size: 4 pictures .* Take a multiple of 6"):
        first_batches(mixed, 1, processes=3, accumulation=2)


def test_pictures_of_shards_come_once_each_with_their_neighbors():
    count = 3 * buckets.WINDOW
    batch = next(batch_plan(buckets_of([count]), count, 0, is_sharded=True))
    order = np.array([row.member for row in batch])
    assert sorted(order) == list(range(count))
    for first in range(0, count, buckets.WINDOW):
        window = order[first : first + buckets.WINDOW]
        assert len(set(window // buckets.NEIGHBORS)) == buckets.WINDOW // buckets.NEIGHBORS
        assert np.abs(np.diff(window)).mean() > buckets.NEIGHBORS  # shuffled within it

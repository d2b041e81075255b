"""Who colors what: retries, shots and workers that are lost, with a pool that only plays its part."""

from collections import deque
from pathlib import Path

from colorize_batch.jobs import Job
from colorize_batch.schedule import color, make_shots
from colorize_batch.worker import Result

PREVIOUS = ("5", "image")


class PlayedPool:
    """Workers that color at once. `fails` gives (worker, job's name) pairs, or names, that fail; `dies` workers."""

    def __init__(self, workers="12", fails=(), dies=()):
        self.idle = set(workers)
        self.fails, self.dies = fails, dies
        self.running = deque()
        self.log = []
        self.lost = ""

    @property
    def size(self):
        return len(self.idle) + len(self.running)

    def start(self, worker, job):
        self.idle.remove(worker)
        self.running.append((worker, job))
        self.log.append((worker, job))

    def wait(self):
        worker, job = self.running.popleft()
        if worker in self.dies:
            self.lost = "Every worker died."
            return worker, Result(error="died")
        self.idle.add(worker)
        if {(worker, job.name), job.name} & set(self.fails):
            return worker, Result(error="no")
        return worker, Result((Path(f"out/{job.name}.png"),), 1.0)


def jobs(*names, **settings):
    return [Job(name, Path(name), {}, shot=name.split("/")[0], **settings) for name in names]


def states(outcomes):
    return {outcome.job.name: outcome.state for outcome in outcomes}


def test_every_job_is_done_once():
    pool = PlayedPool()
    outcomes = list(color(make_shots(jobs("1", "2", "3", "4", "5"), False), pool, {}))
    assert states(outcomes) == dict.fromkeys("12345", "done")
    assert sorted(job.name for _, job in pool.log) == list("12345")
    assert {worker for worker, _ in pool.log} == {"1", "2"}


def test_what_fails_at_one_worker_is_done_by_another():
    pool = PlayedPool(fails={("1", "a"), ("2", "b")})
    outcomes = list(color(make_shots(jobs("a", "b", "c"), False), pool, {}))
    assert states(outcomes) == dict.fromkeys("abc", "done")


def test_what_fails_twice_is_listed_and_the_rest_goes_on():
    pool = PlayedPool(fails={"b"})
    outcomes = list(color(make_shots(jobs("a", "b", "c"), False), pool, {}))
    assert states(outcomes) == {"a": "done", "b": "failed", "c": "done"}
    (failed,) = [outcome for outcome in outcomes if outcome.state == "failed"]
    assert failed.why == "no"
    assert {worker for worker, job in pool.log if job.name == "b"} == {"1", "2"}


def test_a_failure_says_what_went_wrong_at_each_attempt_even_if_the_last_worker_died():
    for dies in "12":
        (failed,) = color(make_shots(jobs("a"), False), PlayedPool(fails={"a"}, dies={dies}), {})
        assert set(failed.why.split()) == {"no", "died"}


def test_a_worker_on_its_own_tries_again_itself():
    pool = PlayedPool("1", fails={"b"})
    outcomes = list(color(make_shots(jobs("a", "b", "c"), False), pool, {}))
    assert states(outcomes) == {"a": "done", "b": "failed", "c": "done"}
    assert [job.name for _, job in pool.log] == ["a", "b", "b", "c"]


def test_what_exists_is_skipped_and_what_is_missing_is_listed_without_a_worker():
    pool = PlayedPool()
    missing = jobs("m", missing="It has no reference.")
    outcomes = list(color(make_shots(jobs("a", "b") + missing, False), pool, {"a": Path("out/a.png")}))
    assert states(outcomes) == {"a": "skipped", "b": "done", "m": "failed"}
    assert [job.name for _, job in pool.log] == ["b"]


def test_a_shot_is_colored_in_order_by_one_worker_and_shots_side_by_side():
    pool = PlayedPool()
    frames = ("x/1", "x/2", "x/3", "y/1", "y/2", "y/3")
    assert len(list(color(make_shots(jobs(*frames), True), pool, {}))) == 6
    for shot in "xy":
        log = [(worker, job.name) for worker, job in pool.log if job.shot == shot]
        assert [name for _, name in log] == [f"{shot}/{number}" for number in (1, 2, 3)]
        assert len({worker for worker, _ in log}) == 1
    assert [job.shot for _, job in pool.log[:2]] == ["x", "y"]


def test_each_frame_takes_the_last_colored_one_across_what_failed_and_what_exists():
    pool = PlayedPool("1", fails={"x/2"})
    frames = jobs("x/0", "x/1", "x/2", "x/3", previous=PREVIOUS)
    list(color(make_shots(frames, True), pool, {"x/0": Path("out/x/0.png")}))
    taken = [(job.name, job.files[PREVIOUS].as_posix()) for _, job in pool.log]
    assert taken == [
        ("x/1", "out/x/0.png"),
        ("x/2", "out/x/1.png"),
        ("x/2", "out/x/1.png"),
        ("x/3", "out/x/1.png"),
    ]


def test_a_shot_whose_worker_dies_goes_on_at_another():
    pool = PlayedPool(dies={"1"})
    outcomes = list(color(make_shots(jobs("x/1", "x/2", "y/1"), True), pool, {}))
    assert states(outcomes) == dict.fromkeys(("x/1", "x/2", "y/1"), "done")


def test_without_any_worker_the_rest_is_failed_and_says_why():
    pool = PlayedPool(dies={"1", "2"})
    outcomes = list(color(make_shots(jobs("a", "b", "c"), False), pool, {}))
    assert states(outcomes) == dict.fromkeys("abc", "failed")
    assert {outcome.why for outcome in outcomes} == {"Every worker died."}

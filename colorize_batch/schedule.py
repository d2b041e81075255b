"""Who colors what next: a shot stays with one worker, in order; what fails is tried again, elsewhere if possible."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from .jobs import Job
from .pools import LocalPool, RayPool
from .worker import Result

ATTEMPTS = 2


@dataclass(frozen=True)
class Outcome:
    """What became of a job: done, skipped or failed; `why` it failed, in a sentence."""

    job: Job
    state: str
    files: tuple[Path, ...] = ()
    seconds: float = 0.0
    worker: str = ""
    why: str = ""


@dataclass
class Shot:
    """Jobs to be colored in order by one worker; a drawing on its own is a shot of one."""

    jobs: deque[Job]
    last: Path | None = None  # the last colored frame
    errors: tuple[str, ...] = ()  # of the failed attempts at the first of `jobs`
    avoided: str = ""  # the worker at which the last of them failed


def make_shots(jobs: list[Job], by_folder: bool) -> list[Shot]:
    """Each job a shot, or the jobs of each folder together."""
    if not by_folder:
        return [Shot(deque([job])) for job in jobs]
    folders: dict[str, list[Job]] = {}
    for job in jobs:
        folders.setdefault(job.shot, []).append(job)
    return [Shot(deque(frames)) for frames in folders.values()]


def color(shots: list[Shot], pool: LocalPool | RayPool, existing: dict[str, Path]) -> Iterator[Outcome]:
    """Colors the jobs of every shot on the pool's workers; gives each outcome as it comes.

    What exists (a result's file by its name) is skipped. A job that fails ATTEMPTS times is failed, and its shot goes
    on from the last colored frame.
    """
    for shot in shots:
        yield from settle(shot, existing)
    waiting: deque[Shot] = deque(shot for shot in shots if shot.jobs)
    colored: dict[str, Shot] = {}
    while waiting or colored:
        for worker in sorted(pool.idle):
            if shot := take(waiting, worker, pool.size == 1):
                colored[worker] = shot
                pool.start(worker, next_frame(shot))
        if not pool.size:
            yield from (Outcome(job, "failed", why=pool.lost) for shot in waiting for job in shot.jobs)
            return
        if (answer := pool.wait()) is None:
            continue
        worker, result = answer
        shot = colored.pop(worker)
        if result.error:
            shot.errors, shot.avoided = (*shot.errors, result.error), worker
            if len(shot.errors) < ATTEMPTS:
                waiting.appendleft(shot)
                continue
        yield conclude(shot, worker, result)
        yield from settle(shot, existing)
        if shot.jobs and worker in pool.idle:
            colored[worker] = shot
            pool.start(worker, next_frame(shot))
        elif shot.jobs:
            waiting.appendleft(shot)


def settle(shot: Shot, existing: dict[str, Path]) -> Iterator[Outcome]:
    """Takes the first jobs away that need no worker: what exists, and what cannot be done."""
    while shot.jobs:
        job = shot.jobs[0]
        if job.name in existing:
            shot.last = existing[job.name]
            yield Outcome(job, "skipped", (shot.last,))
        elif job.missing:
            yield Outcome(job, "failed", why=job.missing)
        else:
            return
        shot.jobs.popleft()


def take(waiting: deque[Shot], worker: str, alone: bool) -> Shot | None:
    """The next shot for that worker: not the one that just failed there, if there are others to color it."""
    shot = next((shot for shot in waiting if alone or shot.avoided != worker), None)
    if shot is not None:
        waiting.remove(shot)
    return shot


def next_frame(shot: Shot) -> Job:
    job = shot.jobs[0]
    return replace(job, files=job.files | {job.previous: shot.last}) if job.previous and shot.last else job


def conclude(shot: Shot, worker: str, result: Result) -> Outcome:
    """Takes the first job away: it is done, or failed for good, for each reason that its attempts met."""
    job = shot.jobs.popleft()
    errors, shot.errors, shot.avoided = shot.errors, (), ""
    if result.error:
        return Outcome(job, "failed", worker=worker, why=" ".join(dict.fromkeys(errors)))
    shot.last = result.files[0]
    return Outcome(job, "done", result.files, result.seconds, worker)

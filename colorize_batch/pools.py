"""Pools of workers: one in this process, or as many as there are GPUs, by Ray.

Both have `size` (workers at work or to be), `idle` (those that wait for a job), `start(worker, job)`, `wait()` for the
next result, `object_info()` and `close()`. `lost` says why workers are no more.
"""

import contextlib
import os
from collections import Counter
from pathlib import Path

from .client import ComfyUIError
from .jobs import Job
from .worker import Result, Settings, Worker

PACKAGE = Path(__file__).resolve().parent
RESTARTS = 3  # of a worker whose process dies
READY_SECONDS = 900
INSTALL_RAY = "More than one worker needs Ray: pip install -r requirements-batch.txt (or give --workers 1)."


class LocalPool:
    """One worker in this process; its ComfyUI is a process of its own all the same."""

    size = 1
    lost = ""

    def __init__(self, settings: Settings):
        self.worker = Worker(settings, 1)
        self.idle: set[str] = set()
        self.jobs: list[Job] = []

    def object_info(self) -> dict:
        return self.worker.object_info()

    def start(self, worker: str, job: Job) -> None:
        self.idle.remove(worker)
        self.jobs.append(job)

    def wait(self) -> tuple[str, Result] | None:
        """The next result, or None where instead the worker has become ready. Raises ServerStopped where it can't."""
        if not self.jobs:
            self.worker.start()
        result = self.worker.run(self.jobs.pop()) if self.jobs else None
        self.idle.add("1")
        return ("1", result) if result else None

    def close(self) -> None:
        self.worker.stop()


class RayPool:
    """A Ray actor for each worker, with a GPU of its own where the cluster has GPUs.

    An actor whose process dies is started again by Ray, elsewhere if its machine is gone, up to RESTARTS times; its job
    comes back as a result with an error. Raises ImportError, with a sentence, without Ray, ComfyUIError without a
    cluster at `address`, ValueError where there are fewer GPUs (or CPUs) than workers.
    """

    def __init__(self, settings: Settings, count: int | None, address: str | None):
        try:
            import ray
        except ImportError:
            raise ImportError(INSTALL_RAY) from None
        self.ray = ray
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # This package goes along, and nothing else of this folder: the models are on every machine already.
        going_along = {"py_modules": [str(PACKAGE)]}
        try:
            ray.init(address, runtime_env=going_along, log_to_driver=False, logging_level="ERROR")
        except ConnectionError as error:
            raise ComfyUIError(f"--address {address}: no Ray cluster lets this computer in ({error}).") from None
        resources = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0))
        kind, most = ("GPU", gpus) if gpus else ("CPU", int(resources["CPU"]))
        count = count or gpus or 1
        if count > most:
            ray.shutdown()
            raise ValueError(f"--workers {count}: there are {most} {kind}s, one for each worker.")
        remote = ray.remote(num_cpus=1, num_gpus=1 if gpus else 0, max_restarts=RESTARTS)(Worker)
        self.actors = {str(index): remote.remote(settings, index) for index in range(1, count + 1)}
        self.idle: set[str] = set()
        self.lost = ""
        self.deaths: Counter[str] = Counter()
        self.running: dict = {}  # a Ray reference -> its worker, while that colors
        self.starting = {self._start(worker): worker for worker in self.actors}

    @property
    def size(self) -> int:
        return len(self.idle) + len(self.running) + len(self.starting)

    def _start(self, worker: str):
        return self.actors[worker].start.options(max_task_retries=RESTARTS).remote()

    def object_info(self) -> dict:
        """The description of the nodes by the first worker that is ready. Raises ComfyUIError where none gets ready."""
        while self.starting and not self.idle:
            self._started(self._next(list(self.starting)))
        if not self.idle:
            raise ComfyUIError(self.lost)
        return self.ray.get(self.actors[min(self.idle)].object_info.remote())

    def start(self, worker: str, job: Job) -> None:
        self.idle.remove(worker)
        self.running[self.actors[worker].run.remote(job)] = worker

    def wait(self) -> tuple[str, Result] | None:
        """The next result, or None where instead a worker has become ready, or can't."""
        reference = self._next([*self.running, *self.starting])
        if reference in self.starting:
            self._started(reference)
            return None
        worker = self.running.pop(reference)
        try:
            result = self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:
            result = Result(error=f"{type(error.cause).__name__}: {error.cause}")
        except self.ray.exceptions.RayError:  # its process, its machine or the memory is gone
            return worker, self._died(worker)
        self.idle.add(worker)
        return worker, result

    def _next(self, references: list):
        ready, _ = self.ray.wait(references, timeout=READY_SECONDS if self.starting and not self.running else None)
        return ready[0] if ready else references[0]

    def _started(self, reference) -> None:
        worker = self.starting.pop(reference)
        try:
            self.ray.get(reference, timeout=0)
        except self.ray.exceptions.RayTaskError as error:
            self.lost = str(error.cause)
        except self.ray.exceptions.RayError as error:
            self.lost = f"A worker did not start: {error}"
        else:
            self.idle.add(worker)

    def _died(self, worker: str) -> Result:
        self.deaths[worker] += 1
        if self.deaths[worker] <= RESTARTS:
            self.starting[self._start(worker)] = worker
        else:
            self.lost = f"Every worker died {RESTARTS + 1} times."
        return Result(error="The worker that colored it died.")

    def close(self) -> None:
        for worker in self.idle:
            with contextlib.suppress(self.ray.exceptions.RayError):
                self.ray.get(self.actors[worker].stop.remote())
        self.ray.shutdown()

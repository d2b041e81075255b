"""Runs hostile cases in a process of its own, and sees when it crashes, hangs or takes too much memory."""

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
HANG = 120  # seconds for one case, on a busy machine
START = 900  # seconds to start ComfyUI, on a busy machine
MEMORY = 2 << 30  # bytes more than at the first case


@dataclass(frozen=True)
class BadEnd:
    case: int
    tried: str
    problem: str

    def __str__(self):
        return f"case {self.case}: {self.tried}\n    {self.problem}"


def watch(count: int, seed: int, first: int = 0) -> list[BadEnd]:
    """The bad ends among `count` cases of a `seed`; after a crash or a hang it goes on with the next case."""
    bad_ends, end = [], first + count
    while first < end:
        last = None
        for event in _events(first, end - first, seed):
            if event.get("problem"):
                number = event.get("end", first if last is None else last)
                bad_ends.append(BadEnd(number, event["tried"], event["problem"]))
            if "start" in event or "end" in event:
                last = event.get("start", event.get("end"))
            if "done" in event:
                return bad_ends
        if last is None:
            return [*bad_ends, BadEnd(first, "to start", "the process ended before its first case")]
        first = last + 1
    return bad_ends


def _events(first: int, count: int, seed: int) -> Iterator[dict]:
    """What the worker says; its end before it is done is a problem of the case that it was at."""
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "tests/hostile/worker.py"]
    environment = os.environ | {"HOSTILE_FIRST": str(first), "HOSTILE_CASES": str(count), "HOSTILE_SEED": str(seed)}
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    lines = queue.Queue()
    threading.Thread(target=_read, args=(process.stdout, lines), daemon=True).start()
    try:
        yield from _watched(process, lines)
    finally:
        process.kill()
        process.wait()


def _why(lines: list[str]) -> str:
    """What pytest says of the end of the worker, else its last lines."""
    return "".join([line for line in lines if line.startswith("E  ")] or lines[-15:])


def _read(stream, lines: queue.Queue) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def _watched(process, lines: queue.Queue) -> Iterator[dict]:
    watched, allowed, recent, patience = psutil.Process(process.pid), None, [], START
    deadline = time.monotonic() + patience
    while True:
        try:
            line = lines.get(timeout=0.2)
        except queue.Empty:
            line = ""
        if line is None:
            yield {"tried": "the process", "problem": f"it ended with {process.wait()}: {_why(recent)}"}
            return
        if line.startswith("@"):
            event = json.loads(line[1:])
            yield event
            if "done" in event:
                return
            patience = HANG
            deadline = time.monotonic() + patience
        elif line:
            recent.append(line)
        if time.monotonic() > deadline:
            yield {"tried": "the process", "problem": f"it hung for {patience} s"}
            return
        try:
            memory = watched.memory_info().rss
        except psutil.NoSuchProcess:
            continue
        allowed = allowed or (memory + MEMORY if line.startswith('@{"start"') else None)
        if allowed and memory > allowed:
            yield {"tried": "the process", "problem": f"it took {memory / 2**30:.1f} GB"}
            return

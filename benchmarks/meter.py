"""What the benchmarks share: time, the peak of memory, and the machine that they were measured on.

On a CPU the time is that which the process had of all cores together, whatever else they do; on a GPU that of the wall.
"""

import platform
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil
import torch
from comfyui_version import __version__ as comfyui_version

ON_GPU = torch.cuda.is_available()
SAMPLED = 0.02  # seconds between two looks at the memory


@dataclass
class Meter:
    """What some runs of one thing took: the seconds of each, and the largest memory in bytes that the process
    (`rss`) and PyTorch on the GPU (`vram`) had at any time of any of them."""

    seconds: list[float] = field(default_factory=list)
    rss: int = 0
    vram: int = 0

    def run(self, work: Callable):
        """What `work()` gives, measured."""
        clock = time.perf_counter if ON_GPU else time.process_time
        if ON_GPU:
            torch.cuda.reset_peak_memory_stats()
        with MemoryWatch() as watch:
            start = clock()
            result = work()
            if ON_GPU:
                torch.cuda.synchronize()
            self.seconds.append(clock() - start)
        self.rss = max(self.rss, watch.peak)
        if ON_GPU:
            self.vram = max(self.vram, torch.cuda.max_memory_allocated())
        return result

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def p95(self) -> float:
        return sorted(self.seconds)[round(0.95 * (len(self.seconds) - 1))]

    @property
    def memory(self) -> str:
        vram = f" + {self.vram / 2**20:.0f} MiB VRAM" if ON_GPU else ""
        return f"{self.rss / 2**20:.0f} MiB{vram}"


class MemoryWatch:
    """Looks at the process's resident memory from a thread of its own; `peak` is the largest that it saw, `own` the
    same without what it shares with others, such as the pages of mapped files."""

    def __init__(self):
        self.process, self.end = psutil.Process(), threading.Event()
        self.peak = self.own = 0

    def look(self) -> None:
        memory = self.process.memory_info()
        self.peak = max(self.peak, memory.rss)
        self.own = max(self.own, memory.rss - getattr(memory, "shared", 0))

    def watch(self) -> None:
        while not self.end.wait(SAMPLED):
            self.look()

    def __enter__(self):
        self.look()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.end.set()
        self.thread.join()
        self.look()


def machine() -> dict[str, str | int]:
    """What the figures depend on: the device, and the versions of what computes."""
    name = torch.cuda.get_device_name() if ON_GPU else processor()
    return {
        "device": name,
        "cores": psutil.cpu_count(logical=False) or psutil.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "comfyui": comfyui_version,
    }


def processor() -> str:
    """The CPU's name, as far as the system says it."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()

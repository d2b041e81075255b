"""A batch's worker against a plain loop in one process, drawing by drawing:

    python -m benchmarks.batch 500

Both color the same drawings with the demo model, as small as it gets: the less there is to do for a drawing, the more
the worker's ways to and from its ComfyUI weigh. They take turns, so that whatever else the machine does disturbs both
alike; medians are compared. The memory is that of the worker's ComfyUI at the 50th drawing and the last.
"""

import asyncio
import json
import logging
import statistics
import sys
import tempfile
import time
import uuid
from pathlib import Path

import psutil
from PIL import Image

from colorize_batch.jobs import Job
from colorize_batch.worker import CACHED_RESULTS, Settings, Worker
from colorize_batch.workflow import drawing_slot, with_values
from demo.data import draw_pairs
from dev import install_demo, link_pack
from environment import COMFYUI, ROOT

DRAWINGS, WARM_UP, SETTLED = 60, 10, 50
SMALLEST = {
    **{("5", "width"): 64, ("5", "height"): 64},
    **{("8", "latent"): ["5", 1], ("8", "denoise"): 1, ("8", "steps"): 1},  # no frame of a shot
}


class NoBrowser:
    """The part of ComfyUI's server that its executor talks to."""

    client_id = last_node_id = last_prompt_id = None

    def __init__(self):
        self.sockets_metadata = {}

    def send_sync(self, event, data, sid=None):
        pass


def plain_loop(base: Path):
    """ComfyUI in this process: gives the function that runs a prompt."""
    sys.path.insert(0, str(COMFYUI))  # before the repository root: both have a `nodes`
    from comfy.cli_args import args

    args.cpu, args.base_directory, args.database_url = True, str(base), "sqlite:///:memory:"
    import execution

    import nodes

    asyncio.run(nodes.init_extra_nodes(init_custom_nodes=False, init_api_nodes=False))
    asyncio.run(nodes.load_custom_node(str(ROOT)))
    cache = {"lru": CACHED_RESULTS, "ram": 0, "ram_inactive": 0}
    executor = execution.PromptExecutor(NoBrowser(), cache_type=execution.CacheType.LRU, cache_args=cache)

    def run(prompt: dict) -> None:
        key = str(uuid.uuid4())
        valid, error, outputs, _ = asyncio.run(execution.validate_prompt(key, prompt, None))
        if not valid:
            raise RuntimeError(error)
        executor.execute(prompt, key, {}, outputs)
        if not executor.success:
            raise RuntimeError(executor.status_messages)

    return run


def main(count: int) -> None:
    logging.disable()
    prompt = json.loads((ROOT / "demo" / "shot.json").read_text())
    slot = drawing_slot(prompt)
    prompt = with_values(prompt, SMALLEST)
    times = {"plain loop": [], "worker": []}
    memory = []
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        install_demo(base)
        link_pack(base / "custom_nodes")
        run_plainly = plain_loop(base)
        worker = Worker(Settings(base / "out", COMFYUI, ("--base-directory", folder)), 1)
        worker.start()
        for index, sketch in enumerate(draw_pairs(-(-(count + WARM_UP) // 2), 1, 128).sketch):
            path = base / "input" / f"{index}.png"
            Image.fromarray(sketch).save(path)
            job = Job(str(index), path, prompt, {slot: path})
            runs = {
                "plain loop": lambda path=path: run_plainly(with_values(prompt, {slot: path.name})),
                "worker": lambda job=job: worker.run(job),
            }
            for name, run in runs.items():
                start = time.perf_counter()
                result = run()
                times[name].append(time.perf_counter() - start)
                if result and result.error:
                    raise RuntimeError(result.error)
            memory.append(psutil.Process(worker.server.process.pid).memory_info().rss)
        worker.stop()
    medians = {name: statistics.median(measured[WARM_UP:]) for name, measured in times.items()}
    print(f"{count} drawings by each, in turns")
    for name, measured in times.items():
        first, last = measured[WARM_UP:][:SETTLED], measured[-SETTLED:]
        print(f"{name:10} {medians[name] * 1000:7.1f} ms ", end="")
        print(f"(first {SETTLED}: {statistics.median(first) * 1000:.1f}, last: {statistics.median(last) * 1000:.1f})")
    print(f"ratio      {medians['worker'] / medians['plain loop']:7.3f}")
    print(f"memory     {memory[SETTLED - 1] / 1e6:.0f} MB at drawing {SETTLED}, {memory[-1] / 1e6:.0f} MB at the last")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else DRAWINGS)

"""Many prompts through one ComfyUI, each another: do memory and time stay flat?

    python -m benchmarks.soak 200

The demo's prompt with changing drawings, references, texts, strengths, sizes, seeds and two names of the checkpoint. A
line for each twentieth of the prompts: median and 95th percentile of their seconds, and ComfyUI's memory after them.
"""

import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil

from colorize_batch.client import Server
from dev import comfyui_command, install_demo
from environment import ROOT

PROMPTS, PARTS = 200, 20
CHECKPOINTS = ("colorize-demo.safetensors", "colorize-demo-copy.safetensors")
PICTURES = (("sketch.png", "second-sketch.png"), ("reference.png", "right-reference.png"))
TEXTS = ("red hair", "blue skirt", "green hair", "a yellow shirt", "purple hair")
SIDES = (64, 96, 128)


def changed(prompt: dict, number: int) -> dict:
    """The demo's `prompt` with other values, those of the `number`."""
    draw = random.Random(number)
    values = {
        "ckpt_name": draw.choice(CHECKPOINTS),
        "target": draw.choice(TEXTS),
        "strength": draw.choice([0.5, 1.0, 1.5]),
        "width": draw.choice(SIDES),
        "height": draw.choice(SIDES),
        "seed": number,
        "steps": 2,
    }
    other = json.loads(json.dumps(prompt))
    for node in other.values():
        inputs = node["inputs"]
        for name in inputs.keys() & values.keys():
            if not isinstance(inputs[name], list):  # no link
                inputs[name] = values[name]
        if node["class_type"] == "LoadImage":  # a drawing by a drawing, a reference by a reference
            inputs["image"] = draw.choice(next(names for names in PICTURES if inputs["image"] in names))
    return other


def main(count: int) -> None:
    prompt = json.loads((ROOT / "demo" / "prompt.json").read_text())
    size, seconds = max(2, count // PARTS), []
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        install_demo(base)
        checkpoints = base / "models" / "checkpoints"
        shutil.copy(checkpoints / CHECKPOINTS[0], checkpoints / CHECKPOINTS[1])
        with Server(comfyui_command(base), base) as server:
            process = psutil.Process(server.process.pid)
            print("prompts     median s    95 % s    memory MB")
            for number in range(count):
                start = time.perf_counter()
                server.run(changed(prompt, number))
                seconds.append(time.perf_counter() - start)
                if len(seconds) == size:
                    memory = sum(part.memory_info().rss for part in [process, *process.children(recursive=True)])
                    slow = statistics.quantiles(seconds, n=20)[-1]
                    median = statistics.median(seconds)
                    print(
                        f"{number + 2 - size:4}-{number + 1:<4} {median:10.2f} {slow:9.2f} {memory / 1e6:12.0f}",
                        flush=True,
                    )
                    seconds.clear()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else PROMPTS)

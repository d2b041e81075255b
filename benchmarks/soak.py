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
from dev import ROOT, comfyui_command, install_demo

PROMPTS, PARTS = 200, 20
CHECKPOINTS = ("colorize-demo.safetensors", "colorize-demo-copy.safetensors")
TEXTS = ("red hair", "blue skirt", "green hair", "a yellow shirt", "purple hair")
SIDES = (64, 96, 128)


def changed(prompt: dict, number: int, pictures: list[str]) -> dict:
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
            kind = "sketch" if "sketch" in inputs["image"] else "reference"
            inputs["image"] = draw.choice([name for name in pictures if kind in name])
    return other


def main(count: int) -> None:
    prompt = json.loads((ROOT / "demo" / "prompt.json").read_text())
    seconds, memory = [], []
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        install_demo(base)
        checkpoints = base / "models" / "checkpoints"
        shutil.copy(checkpoints / CHECKPOINTS[0], checkpoints / CHECKPOINTS[1])
        pictures = sorted(path.name for path in (base / "input").glob("*.png"))
        with Server(comfyui_command(base), base) as server:
            process = psutil.Process(server.process.pid)
            for number in range(count):
                start = time.perf_counter()
                server.run(changed(prompt, number, pictures))
                seconds.append(time.perf_counter() - start)
                memory.append(sum(part.memory_info().rss for part in [process, *process.children(recursive=True)]))
    print("prompts     median s    95 % s    memory MB")
    size = max(2, count // PARTS)
    for start in range(0, count - size + 1, size):
        part = seconds[start : start + size]
        slow = statistics.quantiles(part, n=20)[-1]
        end = start + size
        print(f"{start + 1:4}-{end:<4} {statistics.median(part):10.2f} {slow:9.2f} {memory[end - 1] / 1e6:12.0f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else PROMPTS)

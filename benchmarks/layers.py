"""Time and memory of the layers of a large drawing, on the CPU: `python benchmarks/layers.py [SIDE]` (4096)."""

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from PIL import Image, ImageDraw

from colorize_core.layers.files import page_layers, write_psd
from colorize_core.layers.flats import flat_layers
from colorize_core.layers.lines import line_layers
from colorize_core.layers.palette import lab, palette_of

GIB = 1024**2  # of the kilobytes in which the system counts


def page(side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A drawing [1,S,S,3] of many closed and open shapes, and a soft colored picture of it [1,512,512,3]."""
    dice = np.random.default_rng(0)
    drawing, picture = Image.new("L", (side, side), 255), Image.new("RGB", (side, side), "beige")
    for number in range(120):
        left, top = dice.uniform(0, 0.9, 2) * side
        width, height = dice.uniform(0.03, 0.25, 2) * side
        box, end = (left, top, left + width, top + height), 330 if number % 3 else 360
        ImageDraw.Draw(picture).ellipse(box, fill=tuple(dice.integers(0, 256, 3).tolist()))
        ImageDraw.Draw(drawing).ellipse(box, fill=255)
        ImageDraw.Draw(drawing).arc(box, 0, end, fill=0, width=max(1, side // 500))
    arrays = np.asarray(drawing.convert("RGB")), np.asarray(picture.resize((512, 512)))
    return tuple(torch.from_numpy(array.astype(np.float32) / 255)[None] for array in arrays)


def timed(name: str, run: Callable) -> None:
    start, work = time.perf_counter(), time.process_time()
    run()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / GIB
    seconds, work = time.perf_counter() - start, time.process_time() - work
    print(f"{name:12} {seconds:6.2f} s (of processors: {work:6.2f} s)   peak so far {peak:5.2f} GiB", flush=True)


def in_bytes(image: torch.Tensor) -> np.ndarray:
    return (image[0] * 255).round().byte().numpy()


def nodes(side: int) -> dict[str, Callable]:
    """What each node does with a page of `side` pixels, by the node's name and in order: a later one takes what those
    before it made."""
    sketch, image = page(side)
    lab(np.zeros((1, 3), np.float32))  # imports what it needs
    made = {}

    def line_layer():
        made["color"], made["lines"] = line_layers(image, sketch)[1:]

    def palette():
        made["palette"] = palette_of(image, 8, torch.zeros(0, 3))

    def flats():
        made["flats"] = flat_layers(image, sketch, palette=made["palette"])[0]

    def save():
        parts = (in_bytes(part) for part in (sketch, made["color"], made["flats"], made["lines"], image))
        with tempfile.TemporaryDirectory() as folder:
            write_psd(Path(folder, "page.psd"), *page_layers(*parts, split_flats=True))

    return {"Line Layer": line_layer, "Palette": palette, "Flat Colors": flats, "Save Layers": save}


@torch.inference_mode()
def main() -> None:
    for name, run in nodes(int(sys.argv[1]) if len(sys.argv) > 1 else 4096).items():
        timed(name, run)


if __name__ == "__main__":
    main()

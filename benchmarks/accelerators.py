"""What makes sampling faster and what it does to the picture: `python -m benchmarks.accelerators [PICTURES] [CASE]`.

The demo model colors figures that it has not seen, 256 pixels, 20 steps, with Block Cache, with ComfyUI's accelerators
and with its weights stored in fewer bits. Each is compared with the plain run: the time, the PSNR between the pictures,
and how much further (or nearer) the regions' colors are from the reference's. On a CPU the time is that of one core;
of two runs of a compiled model the second one's. `PYTHONPATH` is the folder of ComfyUI.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch._dynamo.utils
from comfy.cli_args import args

args.cpu = not torch.cuda.is_available()
args.use_pytorch_cross_attention = True

import comfy_extras.nodes_easycache as host_caches
from comfy_api.torch_helpers import set_torch_compile_wrapper
from comfy_extras.nodes_torch_compile import skip_torch_compile_dict

from colorize_core.host.block_cache import with_block_cache
from colorize_core.host.colorize import colorize
from colorize_core.host.load import load_checkpoint
from colorize_core.sketch import Sketch
from demo import evaluate
from demo.data import DrawnPictures, as_sketch, draw_pairs

from .meter import Meter

DEMO = Path(evaluate.__file__).parent
SIZE = 256
HOST_CACHE = {"reuse_threshold": 0.2, "start_percent": 0.15, "end_percent": 0.95, "verbose": False}  # its defaults
RUNS = {
    "2 steps": {"steps": 2},
    "6 steps": {"steps": 6},
    "another seed": {"steps": 2, "seed": 1},
    "another guidance": {"steps": 2, "reference_guidance": 2.0},
    "another strength of the sketch": {"steps": 2, "strength": 0.5},
    "no guidance (one row)": {"steps": 2, "reference_guidance": 1.0},
    "both guidances (three rows)": {"steps": 2, "sketch_guidance": 2.0},
    "guidance again": {"steps": 2},
    "another size": {"steps": 2, "side": 192},
}
STORAGE = {"fp16 weights": "fp16_unet", "bf16 weights": "bf16_unet", "fp8 weights": "fp8_e4m3fn_unet"}


def compiled(model, backend: str):
    """As the node TorchCompileModel does it, which offers no `eager`."""
    patched = model.clone()
    set_torch_compile_wrapper(patched, backend=backend, options={"guard_filter_fn": skip_torch_compile_dict})
    return patched


def stored(flag: str):
    """The demo's MODEL as ComfyUI loads it when it is started with `--flag`."""
    setattr(args, flag, True)
    model, _ = load_checkpoint(str(DEMO / "colorize-demo.safetensors"))
    setattr(args, flag, False)
    return model


def easy_cache(model):
    return host_caches.EasyCacheNode.execute(model, **HOST_CACHE).result[0]


CASES = {
    "plain": lambda model: model,
    "Block Cache, interval 2": lambda model: with_block_cache(model, 2, 0.1, 1.0),
    "Block Cache, interval 3": lambda model: with_block_cache(model, 3, 0.1, 1.0),
    "EasyCache": easy_cache,
    "LazyCache": lambda model: host_caches.LazyCacheNode.execute(model, **HOST_CACHE).result[0],
    "TorchCompileModel (inductor)": lambda model: compiled(model, "inductor"),
    "TorchCompileModel (eager) and EasyCache": lambda model: easy_cache(compiled(model, "eager")),
    **{name: lambda model, flag=flag: stored(flag) for name, flag in STORAGE.items()},
}


def psnr(pictures: np.ndarray, plain: np.ndarray) -> np.ndarray:
    """Of each picture [B,H,W,3] uint8, in dB; those that are equal count as off by one in one channel of a pixel."""
    squares = np.square(pictures.astype(np.float64) - plain).mean(axis=(1, 2, 3))
    return 10 * np.log10(255**2 / squares.clip(1 / plain[0].size))


def report(demo: evaluate.Demo, cases: list[str], drawn: DrawnPictures) -> None:
    partner = np.arange(len(drawn)) ^ 1
    tokens = evaluate.demo_tokens(demo, drawn.color[partner])
    print("| | time | PSNR to plain, mean (least) | color error |\n| --- | --- | --- | --- |")
    plain = None
    for name in cases:
        used = replace(demo, model=CASES[name](demo.model))
        if "Compile" in name:
            evaluate.colorize_drawings(used, tokens, drawn.sketch)
        meter = Meter()
        pictures = meter.run(lambda used=used: evaluate.colorize_drawings(used, tokens, drawn.sketch))
        (seconds,) = meter.seconds
        error = evaluate.figures_color_error(pictures, drawn, partner)
        if plain is None:
            plain, first = pictures, seconds
        likeness = psnr(pictures, plain)
        like = "" if pictures is plain else f"{likeness.mean():.1f} dB ({likeness.min():.1f})"
        print(f"| {name} | {seconds / first:.2f} | {like} | {error:.2f}/255 |", flush=True)


def count_graphs(demo: evaluate.Demo, drawn: DrawnPictures) -> None:
    """Prints how many graphs a compiled model has after runs that differ in one thing each."""
    model, sketch = compiled(demo.model, "eager"), as_sketch(drawn.sketch[:1])
    tokens = evaluate.demo_tokens(demo, drawn.color[:1])
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    for change, run in RUNS.items():
        settings = dict(run)
        strength, side = settings.pop("strength", 1.0), settings.pop("side", SIZE)
        latent = {"samples": torch.zeros(1, 4, side // 8, side // 8)}
        colorize(model, tokens, Sketch(sketch, strength), latent, **settings)
        print(f"{change}: {torch._dynamo.utils.counters['stats']['unique_graphs']} graphs so far")


@torch.inference_mode()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=int, nargs="?", default=128)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    drawn = draw_pairs(chosen.pictures // 2, evaluate.UNSEEN_SEED, SIZE)
    demo = evaluate.load_demo(DEMO)
    if not chosen.cases:
        count_graphs(demo, drawn)
    report(demo, ["plain", *(chosen.cases or list(CASES)[1:])], drawn)


if __name__ == "__main__":
    main()

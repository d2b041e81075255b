"""What a guided denoising step costs against one of ComfyUI's own UNet of the same shape: `python3 dev.py bench`.

Both have the published v1 size and share their (random) weights; a step is a row with the reference and one without, at
512x512 pixels. All take turns, so that whatever else the machine does disturbs them alike, and medians are compared.
On a CPU the time is that of one core (what other programs take of it does not count); on a GPU that of the wall.

`--quick` measures at 256x256 pixels and leaves with an error where a ratio is out of its band. `--json FILE` keeps the
figures.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from pathlib import Path

import torch
from comfy.cli_args import args

args.cpu = not torch.accelerator.is_available()
args.use_pytorch_cross_attention = True

import comfy.model_base
import comfy.model_management

from colorize_core.host.block_cache import BLOCK_CACHE, RunCache
from colorize_core.host.conditions import build_conditioning
from colorize_core.host.injection import INJECTION, Injection
from colorize_core.host.model import ColorizeModel
from colorize_core.host.versions import host_config
from colorize_core.sketch import Sketch
from colorize_core.tokens import ReferenceTokens, Region
from colorize_core.versions.v1 import v1_config

TURNS, WARM_UP = (5, 1) if args.cpu else (100, 20)
TOKENS = 256
PUBLISHED = v1_config()
PLAIN, GUIDED, FOUR = "ComfyUI's UNet", "guided step", "4 regions"
SET_MASK = "4 regions by ComfyUI's Conditioning (Set Mask)"
BANDS = {GUIDED: 1.03, FOUR: 1.15}  # the largest ratio to PLAIN that is accepted


def build(model_class, device, dtype):
    config = host_config(PUBLISHED)
    config.set_inference_dtype(dtype, None)
    return model_class(config, comfy.model_base.ModelType.EPS, device=device)


def randomize(module):
    """Weights as a fresh model has them: each layer keeps the size of what goes through it."""
    for parameter in module.parameters():
        if parameter.ndim == 1:
            parameter.fill_(0.5)
        else:
            parameter.normal_(std=parameter[0].numel() ** -0.5)


def random_tokens():
    width = PUBLISHED.unet.context_dim
    return ReferenceTokens(torch.randn(1, 1, width), torch.randn(1, TOKENS, width))


def with_regions(count, side):
    tokens = random_tokens()
    regions = tuple(Region(random_tokens(), torch.rand(1, 8 * side, 8 * side)) for _ in range(count))
    return ReferenceTokens(tokens.cls, tokens.local, regions=regions)


def joined_conditions(model, tokens, side, device, more=None):
    """The keywords of a pass over a row with everything and one without the reference."""
    sketch = Sketch(torch.rand(1, 3, 8 * side, 8 * side) * 2 - 1)
    positive, no_reference, _ = build_conditioning(tokens, sketch)
    noise = torch.zeros(1, 4, side, side, device=device)
    rows = []
    for ((main, values),) in (positive, no_reference):
        conds = model.extra_conds(noise=noise, device=device, cross_attn=main, **values, **(more or {}))
        rows.append({name: cond.process_cond(batch_size=1, area=None) for name, cond in conds.items()})
    return {name: rows[0][name].concat([rows[1][name]]) for name in rows[0]}


def seconds(run) -> float:
    clock = time.process_time if args.cpu else time.perf_counter
    start = clock()
    run()
    if not args.cpu:
        torch.accelerator.synchronize()
    return clock() - start


def steps_of(ours, plain, side, device):
    """What is measured, by name: functions that compute one step."""
    x = torch.randn(2, 4, side, side, device=device)
    sigma = torch.full((2,), 5.0, device=device)
    injection = Injection(torch.randn(1, 4, side, side), None, 0.5, 0.0, 0.0)

    def step(tokens, more=None, options=None):
        keywords = joined_conditions(ours, tokens, side, device, more)
        context = keywords.pop("c_crossattn")
        return lambda: ours.apply_model(x, sigma, c_crossattn=context, transformer_options=options or {}, **keywords)

    cache = RunCache(2, 0.0, 1.0, 20)
    cached = step(random_tokens(), options={BLOCK_CACHE: cache, "uuids": []})
    cache.begin_evaluation()
    cached()  # the full step whose results the others use

    def shallow_step():
        cache.is_full, cache.passes = False, 0
        cached()

    context = torch.randn(2, TOKENS, PUBLISHED.unet.context_dim, device=device)
    thrice = {"c_crossattn": context.repeat(3, 1, 1)}  # five rows with a reference in place of one
    return {
        PLAIN: lambda: plain.apply_model(x, sigma, c_crossattn=context),
        GUIDED: step(random_tokens()),
        "1 region": step(with_regions(1, side)),
        "2 regions": step(with_regions(2, side)),
        FOUR: step(with_regions(4, side)),
        SET_MASK: lambda: plain.apply_model(*(rows.repeat(3, *[1] * (rows.ndim - 1)) for rows in (x, sigma)), **thrice),
        "Reference Injection": step(random_tokens(), {INJECTION: injection}),
        "Block Cache, a step between": shallow_step,
    }


def measure(side: int, turns: int, warm_up: int) -> dict[str, list[float]]:
    """Seconds of each turn, by what was measured."""
    device = comfy.model_management.get_torch_device()
    dtype = torch.float32 if args.cpu else torch.float16
    ours, plain = build(ColorizeModel, device, dtype), build(comfy.model_base.BaseModel, device, dtype)
    randomize(ours)
    plain.diffusion_model.load_state_dict(ours.diffusion_model.state_dict(), strict=False, assign=True)
    plain.to(device)
    steps = steps_of(ours, plain, side, device)
    times = {name: [] for name in steps}
    for turn in range(warm_up + turns):
        for name, run in steps.items():
            taken = seconds(run)
            if turn >= warm_up:
                times[name].append(taken)
    return times


def table(times: dict[str, list[float]], side: int) -> str:
    plain = statistics.median(times[PLAIN])
    lines = [f"| {8 * side} pixels, 2 rows | median | p95 | to ComfyUI's UNet |", "| --- | --- | --- | --- |"]
    for name, taken in times.items():
        median, p95 = statistics.median(taken), sorted(taken)[round(0.95 * (len(taken) - 1))]
        lines.append(f"| {name} | {median:.3f} s | {p95:.3f} s | {median / plain:.3f} |")
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="at 256 pixels; fails where a ratio is out of its band")
    parser.add_argument("--turns", type=int, default=TURNS, help="how often each is measured")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    return parser.parse_args()


@torch.inference_mode()
def main():
    chosen = arguments()
    torch.set_num_threads(1)
    side = 32 if chosen.quick else 64
    times = measure(side, chosen.turns, WARM_UP)
    device = comfy.model_management.get_torch_device()
    name = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or platform.machine()
    print(f"{name}, PyTorch {torch.__version__}, {chosen.turns} turns\n\n{table(times, side)}")
    if chosen.json:
        chosen.json.write_text(json.dumps({"device": name, "torch": torch.__version__, "seconds": times}, indent=1))
    ratios = {name: statistics.median(times[name]) / statistics.median(times[PLAIN]) for name in BANDS}
    if chosen.quick and (out := {name: ratio for name, ratio in ratios.items() if ratio > BANDS[name]}):
        sys.exit(f"Out of their bands: {out} (at most {BANDS})")


if __name__ == "__main__":
    main()

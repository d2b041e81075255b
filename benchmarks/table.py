"""One table of what everything costs: `python3 dev.py bench [GROUP ...] [--quick]`.

Models have the published v1 size and random weights; a step is a row with the reference and one without, for each
picture of the batch. The columns: ComfyUI's own (its UNet of the same shape, its loader, its Conditioning (Set Mask)
for four regions), the pack without its savings, with each of them, and with all; of Block Cache in a step's row, a step
between two full ones. Those of a group take turns, so that whatever else the machine does disturbs all alike; in
brackets is the ratio to the first of the group. On a CPU the time is the processor's (what other programs take of it
does not count), and whole runs are measured at 256 pixels; on a GPU it is that of the wall. Memory is the largest that
the process had at the time, with all that is loaded.

`--quick` measures a step and four regions at 256 pixels and leaves with an error where a ratio is out of its band.
"""

import argparse
import json
import sys
from itertools import product
from pathlib import Path

import torch

from . import published, rows
from .meter import ON_GPU, Meter, machine

GROUPS = ("import", "loading", "steps", "pictures", "encoders", "text", "layers")
PIXELS, BATCHES = ((512, 768), (1, 4)) if ON_GPU else ((512,), (1,))
TURNS = 20 if ON_GPU else 3
QUICK, QUICK_TURNS, TEXT_TURNS = 256, 5, 100
BANDS = {rows.STEP: 1.03, rows.FOUR: 1.15}  # the largest ratio to ComfyUI's UNet that is accepted
FOLDER = Path(__file__).parents[1] / ".cache" / "bench"


def measure(
    group: rows.Group, turns: int, warm_up: int = 1, columns: tuple[str, ...] = rows.COLUMNS
) -> dict[tuple[str, str], Meter]:
    group = {key: run for key, run in group.items() if key[1] in columns}
    meters = {key: Meter() for key in group}
    for turn in range(warm_up + turns):
        for key, run in group.items():
            if turn < warm_up:
                run()
            else:
                meters[key].run(run)
    return meters


def groups(chosen: argparse.Namespace):
    """Those chosen, one after the other, each with the size that it is measured at: (at, meters)."""
    if "import" in chosen.groups:
        measured = [rows.import_pack() for _ in range(chosen.turns + 1)][1:]
        meter = Meter([seconds for seconds, _ in measured], max(memory for _, memory in measured))
        yield "what it adds", {("importing the pack", rows.PLAIN): meter}
    if "text" in chosen.groups:
        yield "257 tokens of 1024", measure(rows.text_edits(), TEXT_TURNS)
    if "layers" in chosen.groups:
        yield f"{rows.LAYERS_SIDE} pixels", measure(rows.layer_nodes(), chosen.turns, warm_up=0)
    if "loading" in chosen.groups:
        yield "", measure(rows.loading(chosen.folder), chosen.turns)
    if not {"steps", "pictures", "encoders"} & set(chosen.groups):
        return
    models = published.both_models(chosen.channels)
    for pixels, batch in product(chosen.pixels, chosen.batches):
        at = f"{pixels} pixels, batch {batch}"
        if "steps" in chosen.groups:
            group = rows.steps(models, pixels, batch, quick=chosen.quick)
            yield at, measure(group, chosen.turns, columns=chosen.columns)
        if "pictures" in chosen.groups:
            side = pixels if ON_GPU else min(pixels, QUICK)
            runs = rows.pictures(models, side, batch)
            turns, warm_up = max(1, chosen.turns // 3), int(ON_GPU)
            yield f"{side} pixels, batch {batch}", measure(runs, turns, warm_up, chosen.columns)
        if "encoders" in chosen.groups and batch == 1:
            yield f"{pixels} pixels", measure(rows.encoders(models, pixels), chosen.turns)


def seconds(value: float) -> str:
    return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s"


def lines(at: str, meters: dict[tuple[str, str], Meter]) -> list[str]:
    """A line of the table for each row: median, p95, ratio and memory in each column."""
    first, made = next(iter(meters.values())).median, []
    for row in dict.fromkeys(row for row, _ in meters):
        cells = []
        for column in rows.COLUMNS:
            meter = meters.get((row, column))
            cell = (
                meter and f"{seconds(meter.median)}, {seconds(meter.p95)} ({meter.median / first:.3f}) {meter.memory}"
            )
            cells.append(cell or "")
        made.append(f"| {row} | {at} | {' | '.join(cells)} |")
    return made


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="*", metavar="GROUP", default=GROUPS, help=f"of {', '.join(GROUPS)}; all")
    parser.add_argument("--quick", action="store_true", help="a step and four regions; fails out of their bands")
    parser.add_argument("--turns", type=int, default=TURNS, help="how often each is measured, after a warm-up")
    parser.add_argument("--columns", nargs="+", choices=rows.COLUMNS, default=rows.COLUMNS, help="those to measure")
    parser.add_argument("--pixels", type=int, nargs="+", default=PIXELS, help="sides of the pictures")
    parser.add_argument("--channels", type=int, default=320, help="of the models' first level, for a smaller one")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES, help="pictures at once")
    parser.add_argument("--threads", type=int, default=1, help="of a CPU")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="for the file to load, of 4 GB")
    parser.add_argument("--json", type=Path, help="a file for all figures")
    chosen = parser.parse_args()
    if unknown := set(chosen.groups) - set(GROUPS):
        parser.error(f"no such group: {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    if chosen.quick:
        chosen.groups, chosen.pixels, chosen.batches, chosen.turns = ("steps",), (QUICK,), (1,), QUICK_TURNS
        chosen.columns = rows.COLUMNS
    return chosen


@torch.inference_mode()
def main():
    chosen = arguments()
    torch.set_num_threads(chosen.threads)
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    print(f"{chosen.turns} turns after a warm-up: median, p95 (ratio to the first of the group) peak of memory\n")
    print(f"| | at | {' | '.join(rows.COLUMNS)} |\n|{' --- |' * (2 + len(rows.COLUMNS))}")
    found = []
    for at, meters in groups(chosen):
        print("\n".join(lines(at, meters)), flush=True)
        found += [{"row": row, "column": column, "at": at, **vars(meter)} for (row, column), meter in meters.items()]
        if chosen.json:
            chosen.json.write_text(json.dumps({"machine": machine(), "rows": found}, indent=1))
    if chosen.quick:
        step = meters[rows.STEP, rows.HOST].median
        ratios = {row: meters[row, rows.DROPPED].median / step for row in BANDS}
        if out := [f"{row} {ratio:.3f} (at most {BANDS[row]})" for row, ratio in ratios.items() if ratio > BANDS[row]]:
            sys.exit(f"Out of its band: {', '.join(out)}")


if __name__ == "__main__":
    main()

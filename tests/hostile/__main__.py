"""python -m tests.hostile --cases 5000 --seed 1"""

import argparse
import sys
import time

from tests.hostile.watch import watch

parser = argparse.ArgumentParser(description="Hostile cases through the pack's nodes in a real ComfyUI.")
parser.add_argument("--cases", type=int, default=5000, help="how many (5000)")
parser.add_argument("--seed", type=int, default=0, help="which ones: the same seed gives the same cases (0)")
parser.add_argument("--first", type=int, default=0, help="number of the first, to see a case again (0)")
args = parser.parse_args()

started = time.monotonic()
bad_ends = watch(args.cases, args.seed, args.first)
for bad_end in bad_ends:
    print(bad_end)
print(f"{args.cases} cases of seed {args.seed} in {time.monotonic() - started:.0f} s: {len(bad_ends)} ended badly")
sys.exit(bool(bad_ends))

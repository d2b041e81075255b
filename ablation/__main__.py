"""Trains and measures all set-ups of the ablation: `python dev.py ablation`. Killed at any moment, it goes on."""

import argparse
import os
from pathlib import Path

from colorize_core.host import standalone

HERE = Path(__file__).parent


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ablation", description=__doc__.split(":")[0] + ".")
    parser.add_argument("--folder", type=Path, default=Path(".cache/ablation"), help="where unfinished work is kept")
    parser.add_argument("--output", type=Path, default=HERE, help="gets results.json, table.md and sheets")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (small layers gain little from more)")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    os.environ["ACCELERATE_USE_CPU"] = "true"  # as the results were made; a GPU would be idle with so small a network
    standalone.find_comfyui()
    import torch

    standalone.prepare("cpu")
    from . import report

    torch.set_num_threads(args.threads)
    report.run(args.folder, args.output, Path("demo"))


if __name__ == "__main__":
    main()

"""Trains the demo model from nothing into demo/: `python dev.py train-demo`. Killed at any moment, it goes on."""

import argparse
from pathlib import Path

from colorize_core.host import standalone

STAGES = ("autoencoder", "clip", "colorizer", "export", "measure")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="train-demo", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(".cache/train-demo"), help="where unfinished work is kept")
    parser.add_argument("--only", choices=STAGES, help="one stage: two shells can then work side by side")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (small layers gain little from more)")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    standalone.find_comfyui()
    import torch

    standalone.prepare("cuda" if torch.cuda.is_available() else "cpu")
    from . import stages

    torch.set_num_threads(args.threads)
    args.folder.mkdir(parents=True, exist_ok=True)
    for stage in [args.only] if args.only else STAGES:
        getattr(stages, stage)(args.folder)


if __name__ == "__main__":
    main()

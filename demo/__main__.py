"""Trains the demo model into demo/: `python dev.py train-demo`. Killed at any moment, it goes on. A GPU is used."""

import argparse
from pathlib import Path

from colorize_core.host import standalone

STAGES = ("draw", "autoencoder", "clip", "colorizer", "export", "examples", "measure", "couples")
TRAINED_PARTS = ("autoencoder", "clip", "colorizer")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="train-demo", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(".cache/train-demo"), help="where unfinished work is kept")
    parser.add_argument("--only", choices=STAGES, help="one stage: two shells can then work side by side")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (small layers gain little from more)")
    parser.add_argument("--workers", type=int, default=1, help="processes that draw the training pictures")
    parser.add_argument(
        "--packages", type=Path, default=Path(".cache/art"), help="where artists' packages are installed"
    )
    parser.add_argument("--share", type=float, default=1.0, help="how much of the whole training is done, up to 1")
    parser.add_argument("--start", type=Path, help="the folder of a demo model to go on from (default: from nothing)")
    parser.add_argument(
        "--keep", nargs="+", default=[], choices=TRAINED_PARTS, help="parts of START that are not trained"
    )
    return parser.parse_args()


def main() -> None:
    args = arguments()
    standalone.find_comfyui()
    import torch

    standalone.prepare("cuda" if torch.cuda.is_available() else "cpu")
    from . import stages

    torch.set_num_threads(args.threads)
    args.folder.mkdir(parents=True, exist_ok=True)
    run = stages.DemoRun(args.folder, args.packages, args.share, args.start, args.workers, tuple(args.keep))
    for stage in [args.only] if args.only else STAGES:
        getattr(stages, stage)(run)


if __name__ == "__main__":
    main()

"""Trains the demo model from nothing into demo/: `python dev.py train-demo`. Killed at any moment, it goes on."""

import argparse
import sys
from pathlib import Path

STAGES = ("autoencoder", "clip", "colorizer", "export", "evaluate")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="train-demo", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(".cache/train-demo"), help="where unfinished work is kept")
    parser.add_argument("--only", choices=STAGES, help="one stage: two shells can then work side by side")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (small layers gain little from more)")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    import comfy.options
    import torch

    # The host reads sys.argv when it is imported; training wants PyTorch's attention, which has the fast gradient.
    sys.argv = [sys.argv[0], "--use-pytorch-cross-attention", *([] if torch.cuda.is_available() else ["--cpu"])]
    comfy.options.enable_args_parsing()

    from . import stages

    torch.set_num_threads(args.threads)
    args.folder.mkdir(parents=True, exist_ok=True)
    for stage in [args.only] if args.only else STAGES:
        getattr(stages, stage)(args.folder)


if __name__ == "__main__":
    main()

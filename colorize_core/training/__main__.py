"""Trains a ColorizeDiffusion model on pictures and sketches of your own, as an experiment file says."""

import argparse
import sys
from pathlib import Path

from ..host import standalone

EXAMPLES = """examples:
  python -m colorize_core.training training/noisy.yaml
  python -m colorize_core.training training/noisy.yaml --set training.steps=5000 --set data.root=/my/pictures
  accelerate launch --num_processes 2 -m colorize_core.training training/noisy.yaml
  torchrun --nproc_per_node 2 -m colorize_core.training training/noisy.yaml    (on CPUs)

Paths in the file and in KEY=VALUE are relative to the file.
A training that was stopped, even killed, goes on where it was when the same command is given again.
The folder training/ has experiments to start from; the README.md in it lists every key.
"""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m colorize_core.training",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "experiment", type=Path, help="a YAML file: weights to start from, pictures, strategy, settings"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="another value for a key of the experiment, such as training.steps=5000; may be given many times",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print the plan and the memory that it takes, train one step, and save nothing",
    )
    return parser.parse_args()


def main() -> None:
    args = arguments()
    standalone.require("accelerate")
    standalone.find_comfyui()
    from . import config, processes

    try:
        experiment = config.load(args.experiment, args.overrides)
        settings = experiment.training
        # It makes this process's device the current one, which the host then takes.
        accelerator = processes.start_processes(settings.mixed_precision, settings.trackers, experiment.output)
        standalone.prepare(accelerator.device.type)
        from . import colorizer

        colorizer.run(experiment, accelerator, args.dry_run)
    except (ValueError, FloatingPointError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

"""Trains a ColorizeDiffusion v1 model on pictures and sketches of your own, as an experiment file says."""

import argparse
import importlib.util
import os
import sys
from pathlib import Path

PACK = Path(__file__).resolve().parents[2]
EXAMPLES = """examples:
  python -m colorize_core.training training/noisy.yaml
  python -m colorize_core.training training/noisy.yaml --set training.steps=5000 --set data.root=/my/pictures
  accelerate launch --num_processes 2 -m colorize_core.training training/noisy.yaml

Paths in the file and in KEY=VALUE are relative to the file.
A training that was stopped, even killed, goes on where it was when the same command is given again.
The folder training/ has experiments to start from; README.md, "Train your own", says what is in them.
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
    return parser.parse_args()


def find_comfyui() -> None:
    """Makes ComfyUI importable: COMFYUI_PATH, the one whose custom_nodes holds this pack, or that of dev.py."""
    if importlib.util.find_spec("comfy"):
        return
    folders = [os.environ.get("COMFYUI_PATH", ""), PACK.parents[1], PACK / ".comfyui"]
    found = next((folder for folder in map(Path, filter(None, folders)) if (folder / "comfy").is_dir()), None)
    if found is None:
        sys.exit("ComfyUI is not there: put this folder into ComfyUI/custom_nodes, or set COMFYUI_PATH to ComfyUI.")
    sys.path.insert(0, str(found.resolve()))  # before this folder: both have a `nodes`


def prepare_host() -> None:
    """Has the host compute where accelerate has put this process, keep there what it loads, and show no progress."""
    from accelerate import PartialState
    from comfy.cli_args import args

    device = PartialState().device  # is the current device from here on, which the host takes
    args.cpu = device.type == "cpu"
    args.gpu_only = not args.cpu
    args.use_pytorch_cross_attention = True  # it has the fast gradient
    import comfy.utils  # it reads the settings

    comfy.utils.set_progress_bar_enabled(False)


def main() -> None:
    args = arguments()
    if not importlib.util.find_spec("accelerate"):
        sys.exit(f"Training needs more packages: pip install -r {PACK / 'requirements-train.txt'}")
    find_comfyui()
    prepare_host()
    from . import colorizer, experiment

    try:
        colorizer.run(experiment.load(args.experiment, args.overrides))
    except (ValueError, FloatingPointError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

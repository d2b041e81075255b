"""ComfyUI for programs that run outside of it, such as training: found, and told how to compute.

Both before anything else of the host is imported, since it reads its settings then.
"""

import importlib.util
import os
import sys
from pathlib import Path

PACK = Path(__file__).resolve().parents[2]


def require(package: str) -> None:
    """Leaves the program with a word on what to install unless there is this package of requirements-train.txt."""
    if not importlib.util.find_spec(package):
        sys.exit(f"The package {package} is missing: pip install -r {PACK / 'requirements-train.txt'}")


def find_comfyui() -> None:
    """Makes ComfyUI importable: COMFYUI_PATH, the one whose custom_nodes holds this pack, or that of dev.py.

    Leaves the program with a word on what to do where there is none.
    """
    if importlib.util.find_spec("comfy"):
        return
    folders = [os.environ.get("COMFYUI_PATH", ""), PACK.parent.parent, PACK / ".comfyui"]
    found = next((folder for folder in map(Path, filter(None, folders)) if (folder / "comfy").is_dir()), None)
    if found is None:
        sys.exit("ComfyUI is not there: put this folder into ComfyUI/custom_nodes, or set COMFYUI_PATH to ComfyUI.")
    sys.path.insert(0, str(found.resolve()))  # before this folder: both have a `nodes`


def prepare(device_type: str) -> None:
    """Has the host compute on the current device of that type, keep there what it loads, and show no progress."""
    from comfy.cli_args import args

    args.cpu = device_type == "cpu"
    args.gpu_only = not args.cpu
    args.use_pytorch_cross_attention = True  # it has the fast gradient
    import comfy.utils

    comfy.utils.set_progress_bar_enabled(False)

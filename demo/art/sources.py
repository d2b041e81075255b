"""Where the drawings come from: packages that are installed by name into a cache, never committed."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from colorize_core.files import atomic_write

HERE = Path(__file__).parent
DEBIAN_PACKAGES = ("openclipart-svg", "renpy-demo", "renpy-thequestion")
EXPORTED_FIGURES = 1000  # of each npm package


@dataclass(frozen=True)
class Sources:
    """Folders of what is installed: `npm` is a node_modules, `debian` holds a file tree for each package, if any.

    `exported` is the file that figures.mjs wrote.
    """

    npm: Path
    debian: Path
    exported: Path


def installed_sources(cache: Path) -> Sources:
    """Installs what `cache` lacks. Raises ValueError where that fails.

    Debian's packages are left out, with a line that says so, on systems that have no apt-get.
    """
    cache.mkdir(parents=True, exist_ok=True)
    npm, debian = install_npm(cache / "npm"), cache / "debian"
    if shutil.which("apt-get") and shutil.which("dpkg-deb"):
        for package in DEBIAN_PACKAGES:
            install_debian(package, debian)
    else:
        print(f"Left out, since there is no apt-get: {', '.join(DEBIAN_PACKAGES)}")  # noqa: T201
    exported = cache / "figures.jsonl"
    if not exported.exists():
        command = ["node", HERE / "figures.mjs", npm, str(EXPORTED_FIGURES)]
        with atomic_write(exported) as path, path.open("w") as file:
            run(command, "Node.js 18 or later", stdout=file)
    return Sources(npm, debian, exported)


def install_npm(folder: Path) -> Path:
    """The node_modules of package.json, installed unless it is there in these very versions."""
    wanted = (HERE / "package.json").read_text()
    stamp = folder / "installed.json"
    if not (stamp.exists() and stamp.read_text() == wanted):
        folder.mkdir(exist_ok=True)
        (folder / "package.json").write_text(wanted)
        options = ["--prefix", folder, "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        run(["npm", "install", *options], "Node.js 18 or later with npm")
        stamp.write_text(wanted)
    return folder / "node_modules"


def install_debian(package: str, folder: Path) -> None:
    """Unpacks a package into `folder`/NAME, which appears whole or not at all; nothing of it is run."""
    target, unfinished = folder / package, folder / f"{package}.unfinished"
    if target.is_dir():
        return
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    run(["apt-get", "download", package], "apt-get with package lists (apt-get update)", cwd=unfinished)
    (archive,) = unfinished.glob("*.deb")
    run(["dpkg-deb", "-x", archive, unfinished], "dpkg-deb")
    archive.unlink()
    unfinished.rename(target)


def run(command: list, needed: str, **options) -> None:
    """Runs a program; raises ValueError that says what is `needed` and the program's last words."""
    try:
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, **options)
    except FileNotFoundError as error:
        raise ValueError(f"{command[0]}: is not there. The artists' drawings need {needed}: install it.") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines()[-5:]
        raise ValueError(f"{command[0]} failed, and the artists' drawings need {needed}. It said: {' '.join(lines)}")

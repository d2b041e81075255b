"""A worker: one ComfyUI in a process of its own, which keeps its models and colors one drawing after the other.

A process of its own, and not this one: a crash of the driver or of a node, or the system that ends what takes too much
memory, costs one picture and a new start, not the worker; ComfyUI reads its flags as always; and HTTP takes a few
milliseconds of a picture. docs/batch.md has what was measured.
"""

import hashlib
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from .client import ComfyUIError, Server, ServerStopped, launch_command
from .jobs import Job, natural
from .workflow import with_values

PACK = Path(__file__).resolve().parents[1]

# As many results of nodes as ComfyUI keeps: enough for a scene's references, and a limit to the memory they take. Its
# own choice would be to keep everything until memory is short.
CACHED_RESULTS = 64


@dataclass(frozen=True)
class Settings:
    """What every worker is made of: small values and paths that mean the same on every machine."""

    out: Path
    comfyui: Path  # a machine that has none there needs a COMFYUI_PATH of its own
    flags: tuple[str, ...] = ()  # of ComfyUI


@dataclass(frozen=True)
class Result:
    """What came of a job: its files in the output folder, or the sentence that says why there are none."""

    files: tuple[Path, ...] = ()
    seconds: float = 0.0
    error: str = ""


def comfyui_folder(given: Path | None) -> Path:
    """The ComfyUI to use: the given one, COMFYUI_PATH, the one that holds this pack, or that of dev.py."""
    named = given or os.environ.get("COMFYUI_PATH")
    folders = [Path(named)] if named else [PACK.parent.parent, PACK / ".comfyui"]
    for folder in folders:
        if (folder / "main.py").is_file():
            return folder.resolve()
    raise ValueError(f"There is no ComfyUI in {' or '.join(map(str, folders))}: name its folder with --comfyui.")


def staging_folder(out: Path) -> Path:
    """Where all workers have what is not finished; it is deleted at the end."""
    return out / ".colorize_batch"


class Worker:
    """Colors drawings by a ComfyUI that it starts when first needed, and again when it has ended."""

    def __init__(self, settings: Settings, index: int):
        self.settings = settings
        self.folder = staging_folder(settings.out) / str(index)
        self.server: Server | None = None

    def start(self) -> None:
        """Starts ComfyUI unless it runs. Raises ServerStopped, with the end of its log, where it does not start."""
        if self.server is not None:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "output").mkdir(parents=True)
        flags = [
            *("--output-directory", str(self.folder / "output")),
            *("--temp-directory", str(self.folder)),
            *("--database-url", "sqlite:///:memory:"),
            *("--cache-lru", str(CACHED_RESULTS)),
            *self.settings.flags,
        ]
        here = self.settings.comfyui
        comfyui = here if (here / "main.py").is_file() else comfyui_folder(None)
        server = Server(launch_command(Path(sys.executable), comfyui, *flags), self.folder)
        server.__enter__()
        self.server = server

    def stop(self) -> None:
        if self.server is not None:
            self.server.__exit__()
            self.server = None

    def object_info(self) -> dict:
        """ComfyUI's description of its nodes."""
        self.start()
        return self.server.request("/object_info")

    def run(self, job: Job) -> Result:
        """Colors a drawing; what goes wrong is in the result."""
        started = time.monotonic()
        staged = {slot: self._staged(path) for slot, path in job.files.items()}
        try:
            self.start()
            (self.folder / "temp").mkdir(exist_ok=True)
            for slot, path in job.files.items():
                shutil.copyfile(path, staged[slot])
            names = {slot: f"{path.name} [temp]" for slot, path in staged.items()}
            self.server.run(with_values(job.prompt, names))
            files = publish(self.folder / "output", self.settings.out, job.name)
            return Result(files, time.monotonic() - started)
        except (ComfyUIError, ValueError, OSError) as error:
            if isinstance(error, ServerStopped):
                self.stop()
            text = str(error)
            for slot, path in job.files.items():
                text = text.replace(str(staged[slot]), str(path))
            return Result(error=text)
        finally:
            self._clear()

    def _staged(self, path: Path) -> Path:
        """Where a picture is put for ComfyUI to find it: the same file always by the same name, as its cache needs."""
        return self.folder / "temp" / f"{hashlib.sha256(str(path).encode()).hexdigest()[:12]}{path.suffix}"

    def _clear(self) -> None:
        for name in ("temp", "output"):
            for path in (self.folder / name).glob("*"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def publish(source: Path, out: Path, name: str) -> tuple[Path, ...]:
    """Moves every file below `source` to `out`, as `name` and its own ending, or `name.2`, ... for more of a kind.

    A reader never sees half a file: both folders are on one disk, where a move is one step. Raises ValueError where
    there is no file.
    """
    made = sorted((path for path in source.rglob("*") if path.is_file()), key=natural)
    if not made:
        raise ValueError("The workflow saved nothing: it needs a Save Image node, or another that saves.")
    targets: dict[Path, Path] = {}
    for path in made:
        count = 1 + sum(other.suffix == path.suffix for other in targets)
        number = f".{count}" if count > 1 else ""
        targets[path] = out / f"{name}{number}{path.suffix}"
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    for path, target in targets.items():
        os.replace(path, target)
    return tuple(targets.values())

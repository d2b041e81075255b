"""How long a training takes to start on many pictures, and how much memory each process that reads them takes.

    python -m benchmarks.training_data [--count 1000000] [--shards] [--folder .cache/many-pictures]

The pictures are tiny, all alike, and lie in two archives, or in tar shards, that it writes first.
"""

import argparse
import io
import itertools
import tarfile
import time
import zipfile
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from colorize_core.training.data import DataSettings, PictureFolder
from colorize_core.training.deformation import Deformation
from colorize_core.training.loader import batches, picture_dataset

WORKERS = 2
SHARD = 10_000  # pictures in one


def picture_bytes() -> bytes:
    lines = np.full((64, 64), 255, np.uint8)
    lines[20:24] = 0
    file = io.BytesIO()
    Image.fromarray(lines).save(file, "png")
    return file.getvalue()


def write_archives(folder: Path, count: int) -> None:
    """color.zip and sketch.zip of `count` pictures, unless they are there."""
    picture = picture_bytes()
    for kind in ("color", "sketch"):
        if (folder / f"{kind}.zip").exists():
            continue
        with zipfile.ZipFile(folder / f"{kind}.zip", "w") as archive:
            for number in range(count):
                archive.writestr(f"{number:07}.png", picture)


def write_tars(folder: Path, count: int) -> None:
    """Tar shards of `count` pictures, unless they are there."""
    picture = picture_bytes()
    for first in range(0, count, SHARD):
        path = folder / f"{first:07}.tar"
        if path.exists():
            continue
        with tarfile.open(path, "w") as archive:
            for number in range(first, min(count, first + SHARD)):
                for kind in ("color", "sketch"):
                    member = tarfile.TarInfo(f"{number:07}.{kind}.png")
                    member.size = len(picture)
                    archive.addfile(member, io.BytesIO(picture))


def start(folder: Path) -> tuple[float, int]:
    """Seconds from the folder to the third batch, and the bytes that a worker has for itself by then."""
    begin = time.perf_counter()
    pictures, _ = PictureFolder(folder, folder / "index.npz").split(0.02)
    settings = DataSettings(folder, batch_size=8, resolutions=(64,), workers=WORKERS)
    rows = batches(picture_dataset(pictures, settings, Deformation()), seed=0)
    for _ in itertools.islice(rows, 3):
        pass
    seconds = time.perf_counter() - begin
    workers = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    return seconds, max(worker.memory_full_info().uss for worker in workers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--shards", action="store_true")
    parser.add_argument("--folder", type=Path, default=Path(".cache/many-pictures"))
    options = parser.parse_args()
    for count in (64, options.count):
        folder = options.folder / f"{count}-{'shards' if options.shards else 'archives'}"
        folder.mkdir(parents=True, exist_ok=True)
        (write_tars if options.shards else write_archives)(folder, count)
        (folder / "index.npz").unlink(missing_ok=True)
        first, _ = start(folder)
        again, memory = start(folder)
        print(
            f"{count} pictures: {first:.1f} s to start, {again:.1f} s from the index, {memory / 2**20:.0f} MB a worker"
        )


if __name__ == "__main__":
    main()

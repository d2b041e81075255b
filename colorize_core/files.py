"""Files that are there whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Gives a path beside `path`, with its ending, to write to; when that went well, the file becomes `path`.

    It gets the mode that the umask gives any new file, whatever its writer does. When writing fails, nothing is left.
    """
    unfinished = path.with_name(f"{path.stem}.unfinished{path.suffix}")
    try:
        unfinished.touch()
        mode = unfinished.stat().st_mode
        yield unfinished
        unfinished.chmod(mode)
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise

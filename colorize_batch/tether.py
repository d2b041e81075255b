"""Runs a program for as long as the process that started it lives: `python tether.py PROGRAM ARGUMENTS`.

Whoever starts it holds the other end of its standard input. However that process ends, even killed, the input ends with
it, and so does this one: no ComfyUI stays behind with a GPU's memory.
"""

import os
import runpy
import sys
import threading
from pathlib import Path


def end_with_the_input() -> None:
    while os.read(0, 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=end_with_the_input, daemon=True).start()
    del sys.argv[0]
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
    runpy.run_path(sys.argv[0], run_name="__main__")

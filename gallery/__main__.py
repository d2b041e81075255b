"""Makes anew what ComfyUI and the README show of the pack, with the demo's files.

`python3 dev.py gallery` makes all of it; `python3 dev.py gallery templates` (and the blueprint), `pages` (the lists of
the help pages and traditional Chinese) or `pictures` (thumbnails, help and README) one part.
"""

import argparse
import json
from pathlib import Path

from colorize_batch.client import Server
from dev import comfyui_command, install_demo
from environment import CACHE, ROOT

from .help import write_pages
from .locales import write_taiwan_files
from .pictures import make_demo_picture, make_thumbnails
from .settings import DEMO, PUBLISHED
from .sheets import HELP_SHEETS, README_SHEETS, make_sheets
from .writing import write_blueprint, write_templates


def make_templates(server: Server, base: Path, object_info: dict) -> None:
    write_templates(ROOT / "workflows", object_info, PUBLISHED)
    write_templates(ROOT / "demo" / "workflows", object_info, DEMO)
    write_blueprint(ROOT / "subgraphs", object_info)


def make_pages(server: Server, base: Path, object_info: dict) -> None:
    write_pages(object_info)
    write_taiwan_files()


def make_pictures(server: Server, base: Path, object_info: dict) -> None:
    demo_prompt = json.loads((ROOT / "demo" / "prompt.json").read_text())
    make_demo_picture(server, base, demo_prompt, ROOT / "docs" / "pictures" / "demo.jpg")
    make_thumbnails(server, base, object_info, ROOT / "demo", ROOT / "workflows")
    make_sheets(server, base, object_info, README_SHEETS, ROOT / "docs" / "pictures")
    make_sheets(server, base, object_info, HELP_SHEETS, ROOT / "web" / "docs" / "pictures")


PARTS = {"templates": make_templates, "pages": make_pages, "pictures": make_pictures}


def main() -> None:
    parser = argparse.ArgumentParser(prog="dev.py gallery", description=__doc__.split("\n")[0])
    parser.add_argument("what", nargs="?", choices=["all", *PARTS], default="all")
    what = parser.parse_args().what
    base = CACHE / "comfyui"
    install_demo(base)
    with Server(comfyui_command(base), base) as server:
        object_info = server.request("/object_info")
        for part, make in PARTS.items():
            if what in ("all", part):
                make(server, base, object_info)


if __name__ == "__main__":
    main()

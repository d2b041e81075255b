"""Makes anew what ComfyUI and the README show of the pack: templates and their thumbnails.

`python3 dev.py gallery`, or `python3 dev.py gallery templates` for these alone. Results are made with the demo's files.
"""

import argparse
import json

from colorize_batch.client import Server
from dev import comfyui_command, install_demo
from environment import CACHE, ROOT

from .pictures import make_demo_picture, make_thumbnails
from .settings import DEMO, PUBLISHED
from .writing import write_templates


def main() -> None:
    parser = argparse.ArgumentParser(prog="dev.py gallery", description=__doc__.split("\n")[0])
    parser.add_argument("what", nargs="?", choices=["all", "templates"], default="all")
    what = parser.parse_args().what
    base = CACHE / "comfyui"
    install_demo(base)
    with Server(comfyui_command(base), base) as server:
        object_info = server.request("/object_info")
        write_templates(ROOT / "workflows", object_info, PUBLISHED)
        write_templates(ROOT / "demo" / "workflows", object_info, DEMO)
        if what == "all":
            demo_prompt = json.loads((ROOT / "demo" / "prompt.json").read_text())
            make_demo_picture(server, base, demo_prompt, ROOT / "docs" / "pictures" / "demo.jpg")
            make_thumbnails(server, base, object_info, ROOT / "demo", ROOT / "workflows")


if __name__ == "__main__":
    main()

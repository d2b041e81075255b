"""Writes the templates anew: `python3 dev.py gallery`. What they look like is in this folder."""

from colorize_batch.client import Server
from dev import CACHE, ROOT, comfyui_command

from .settings import DEMO, PUBLISHED
from .writing import write_templates


def main() -> None:
    base = CACHE / "templates"
    base.mkdir(parents=True, exist_ok=True)
    with Server(comfyui_command(base), base) as server:
        object_info = server.request("/object_info")
    write_templates(ROOT / "workflows", object_info, PUBLISHED)
    write_templates(ROOT / "demo" / "workflows", object_info, DEMO)


if __name__ == "__main__":
    main()

"""Templates as files: in workflows/ with the published models, or anywhere else with another Setting."""

import json
import re
from pathlib import Path

from colorize_core.files import atomic_write

from .graph import Graph
from .settings import PUBLISHED, Setting
from .templates import TEMPLATES, Template

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = ROOT / "workflows"


def pack_version() -> str:
    return re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]


def saved_template(template: Template, object_info: dict, setting: Setting = PUBLISHED) -> dict:
    """The workflow's JSON, as the browser would save it."""
    graph = Graph(object_info, pack_version())
    template.build(graph, setting)
    return graph.saved()


def write_templates(folder: Path, object_info: dict, setting: Setting = PUBLISHED) -> None:
    """Every template whose version the setting has, as a file of its name in `folder`."""
    for template in (template for template in TEMPLATES if template.version in setting.models):
        text = json.dumps(saved_template(template, object_info, setting), indent=1)
        folder.mkdir(exist_ok=True)
        with atomic_write(folder / f"{template.name}.json") as path:
            path.write_text(text + "\n")

"""Templates and blueprint as files: with the published models, templates also with those of another Setting."""

import json
import re
from pathlib import Path

from colorize_core.files import atomic_write

from . import blueprint
from .graph import Graph
from .settings import PUBLISHED, Setting
from .templates import TEMPLATES, Template

ROOT = Path(__file__).resolve().parents[1]


def pack_version() -> str:
    return re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]


def saved_template(template: Template, object_info: dict, setting: Setting = PUBLISHED) -> dict:
    """The workflow's JSON, as the browser would save it."""
    graph = Graph(object_info, pack_version())
    template.build(graph, setting)
    return graph.saved()


def templates_of(setting: Setting) -> list[Template]:
    """Those templates that run with the files of a setting."""
    fits = (template for template in TEMPLATES if template.version in setting.models)
    return [template for template in fits if setting.has_loras or not template.takes_lora]


def write_templates(folder: Path, object_info: dict, setting: Setting) -> None:
    """Every template of the setting as a file of its name in `folder`."""
    for template in templates_of(setting):
        write_json(folder / f"{template.name}.json", saved_template(template, object_info, setting))


def write_blueprint(folder: Path, object_info: dict) -> None:
    """The blueprint, with the published files, as a file of its name in `folder`."""
    write_json(folder / f"{blueprint.NAME}.json", saved_blueprint(object_info))


def saved_blueprint(object_info: dict) -> dict:
    return blueprint.build_blueprint(object_info, pack_version(), PUBLISHED)


def write_json(file: Path, saved: dict) -> None:
    file.parent.mkdir(exist_ok=True)
    with atomic_write(file) as path:
        path.write_text(json.dumps(saved, indent=1) + "\n")

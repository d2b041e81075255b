"""pyproject.toml, the requirements files and the changelog say the same."""

import re
from pathlib import Path

import pytest

try:
    import tomllib
except ImportError:  # Python 3.10, where pytest brings its model
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
GROUPS = {part: f"requirements-{part}.txt" for part in ("train", "batch", "demo")} | {"test": "tests/requirements.txt"}


def requirements(name: str) -> list[str]:
    return [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]


def test_every_optional_group_has_a_requirements_file():
    assert set(PROJECT["optional-dependencies"]) == set(GROUPS)


@pytest.mark.parametrize("group", GROUPS)
def test_an_optional_group_is_what_its_requirements_file_says(group):
    assert requirements(GROUPS[group]) == PROJECT["optional-dependencies"][group]


def test_the_changelogs_last_release_is_the_version():
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    released = [heading for heading in headings if heading != "Unreleased"]
    assert (released or [PROJECT["version"]])[0].split()[0] == PROJECT["version"]

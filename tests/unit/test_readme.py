"""README.md and its translations: what they name is there, and they name the same."""

import re
from pathlib import Path

import pytest

import dev

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TRANSLATIONS = ["README.zh.md", "README.ja.md"]
TEMPLATES = {path.stem for path in (ROOT / "workflows").glob("*.json")}
SOURCES = [path.read_text() for room in ("nodes", "colorize_core") for path in (ROOT / room).rglob("*.py")]


@pytest.fixture(params=["README.md", *TRANSLATIONS])
def readme(request):
    return (ROOT / request.param).read_text(encoding="utf-8")


def blocks(text: str) -> list[str]:
    return re.findall(r"^```\n(.+?)^```", text, re.MULTILINE | re.DOTALL)


def commands(text: str) -> set[str]:
    return set(re.findall(r"python3 dev\.py ([\w-]+)", text))


def linked_templates(text: str) -> list[tuple[str, str]]:
    link = r"\[([\w.-]+)\]\(http://127\.0\.0\.1:8188/\?template=([\w.-]+)&source=colorize-diffusion(?:&mode=linear)?\)"
    return re.findall(link, text)


def symptoms(text: str) -> list[str]:
    """What the table of troubles quotes from an error."""
    return re.findall(r"^\| \*(.+?)\* \|", text, re.MULTILINE)


def checkpoints(text: str) -> list[tuple[str, ...]]:
    """File, version, size, size on the GPU."""
    return re.findall(r"^\| \[`(.+?)`\].*?\| (v\S+) \|.*?\| ([\d.]+ GB) \| ([\d.]+ GB) \|", text, re.MULTILINE)


def test_every_command_is_one_of_dev_py_and_none_is_left_out(readme):
    assert commands(readme) == set(dev.COMMANDS)


def test_a_link_opens_each_template(readme):
    links = linked_templates(readme)
    assert all(title == name for title, name in links)
    assert sorted(name for _, name in links) == sorted(TEMPLATES)


def test_pictures_and_links_into_the_repository_are_there(readme):
    targets = re.findall(r"\]\(([^)\s]+)\)", readme)
    own = [target for target in targets if not target.startswith("http")]
    assert len(own) > 10
    assert [target for target in own if not (ROOT / target.split("#")[0]).exists()] == []


def test_an_error_is_quoted_as_the_code_says_it(readme):
    joined = re.sub(r'"\s*\n\s*f?"', "", "\n".join(SOURCES))
    assert len(symptoms(readme)) > 4
    for symptom in symptoms(readme):
        for part in filter(None, (part.strip() for part in symptom.split("..."))):
            assert part in joined, symptom


@pytest.mark.parametrize("name", TRANSLATIONS)
def test_a_translation_has_the_same_blocks_pictures_checkpoints_and_errors(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    pictures = re.compile(r"!\[[^\]]+\]\(([^)]+)\)")
    assert set(blocks(text)) == set(blocks(README))
    assert pictures.findall(text) == pictures.findall(README)
    assert symptoms(text) == symptoms(README)
    assert checkpoints(text) == checkpoints(README) and len(checkpoints(README)) == 3

"""The help pages: in step with the nodes and the translations, in every language, with pictures that are there."""

import json
import re
import urllib.request

import pytest

from gallery.graph import input_specs
from gallery.help import DOCS, LOCALES, pages, with_lists
from gallery.sheets import HELP_SHEETS

WRITTEN = pages()
EVERY = sorted(path for path in DOCS.rglob("*.md"))
PICTURES = DOCS / "pictures"
WITHOUT_PICTURE = {"ColorizeDiffusion_LoadTagger"}  # the demo model is no XL


def node_of(path) -> str:
    return path.stem if path.parent == DOCS else path.parent.name


def pictures_of(path) -> list[str]:
    return re.findall(r"!\[[^\]]+\]\(pictures/([^)]+)\)", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("node", "language", "path"), WRITTEN, ids=lambda value: getattr(value, "stem", value))
def test_a_pages_lists_are_what_the_node_and_its_translation_say(node, language, path, object_info):
    page = path.read_text(encoding="utf-8")
    assert page == with_lists(page, object_info[node], language), "run python3 dev.py gallery pages"
    sockets = [*input_specs(object_info[node]), *object_info[node]["output_name"]]
    assert [name for name in sockets if f"- `{name}`" not in page] == []


def test_every_node_has_a_page_in_every_language(object_info):
    nodes = {name for name in object_info if name.startswith("ColorizeDiffusion_")}
    for language in ("zh", "zh-TW", "ja"):
        assert {path.parent.name for path in EVERY if path.stem == language} == nodes
    assert {path.stem for path in EVERY if path.parent == DOCS} == nodes


@pytest.mark.parametrize("language", ["zh", "zh-TW", "ja"])
def test_a_translated_pages_title_is_the_nodes_name_in_that_language(language):
    names = json.loads((LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8"))
    for node, said in names.items():
        page = (DOCS / node / f"{language}.md").read_text(encoding="utf-8")
        assert page.startswith(f"# {said['display_name']}\n"), node


def test_every_page_shows_pictures_that_the_gallery_makes_and_all_languages_show_the_same():
    made = {f"{sheet.name}.webp" for sheet in HELP_SHEETS}
    assert {file.name for file in PICTURES.iterdir()} == made
    assert {picture for path in EVERY for picture in pictures_of(path)} == made
    for path in EVERY:
        node = node_of(path)
        assert pictures_of(path) == pictures_of(DOCS / f"{node}.md"), path
        assert pictures_of(path) or node in WITHOUT_PICTURE, path


def test_the_readme_lists_every_node_once(object_info):
    listed = (DOCS.parents[1] / "README.md").read_text(encoding="utf-8").split("## Nodes\n")[1].split("\n## ")[0]
    names = re.findall(r"^\| ([^|]+?) \| ", listed, re.MULTILINE)[1:]  # behind the heading
    known = [info["display_name"] for name, info in object_info.items() if name.startswith("ColorizeDiffusion_")]
    assert sorted(names) == sorted(known)


def test_all_pictures_together_are_small():
    assert sum(file.stat().st_size for file in PICTURES.iterdir()) < 3_000_000


def test_comfyui_serves_a_translated_page_and_its_picture(server):
    at = f"{server.url}/extensions/colorize-diffusion/docs"
    for file in ("ColorizeDiffusion_Sampler/ja.md", "ColorizeDiffusion_Sampler/zh-TW.md", "pictures/Sampler.webp"):
        with urllib.request.urlopen(f"{at}/{file}") as answer:
            assert answer.read() == (DOCS / file).read_bytes()

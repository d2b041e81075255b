"""The lists of inputs and outputs in the help pages, from what ComfyUI says of the nodes and from the translations.

The prose of a page is written by hand. Between its marks, `<!-- inputs -->` to `<!-- /inputs -->` and the same with
outputs, stands what this module makes. Lists, for the help panel is too narrow for a table.
"""

import json
import re
from pathlib import Path

from colorize_core.files import atomic_write

from .graph import input_specs, is_widget, kind_of, options_of
from .locales import DOCS, LOCALES

FILES = ("ckpt_name", "clip_name", "tagger_name")  # choices that differ from one computer to the next
MOST_CHOICES = 6  # of a list that is written out
ENDLESS = 1e6  # a largest number that nobody reaches
WORDS = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))  # of the lists, by language


def pages() -> list[tuple[str, str, Path]]:
    """Each page that is written by hand: node, language, file."""
    english = [(path.stem, "en", path) for path in sorted(DOCS.glob("*.md"))]
    others = [(path.parent.name, path.stem, path) for path in sorted(DOCS.glob("*/*.md")) if path.stem in WORDS]
    return english + others


def write_pages(object_info: dict) -> None:
    """Renews the lists of all pages that are written by hand."""
    for node, language, path in pages():
        text = with_lists(path.read_text(encoding="utf-8"), object_info[node], language)
        with atomic_write(path) as partial:
            partial.write_text(text, encoding="utf-8")


def with_lists(page: str, info: dict, language: str) -> str:
    """The page with its lists as the node's description `info` has them. ValueError if it lacks a mark."""
    for what, entries in ("inputs", input_list(info, language)), ("outputs", output_list(info, language)):
        pattern = re.compile(rf"(<!-- {what} -->\n).*?(<!-- /{what} -->)", re.DOTALL)
        if not info["output"] and what == "outputs":
            continue
        if not pattern.search(page):
            raise ValueError(f"The help page of {info['name']} in {language} lacks <!-- {what} --> <!-- /{what} -->.")
        page = pattern.sub(lambda marks, entries=entries: f"{marks[1]}{entries}{marks[2]}", page)
    return page


def translation(info: dict, language: str) -> dict:
    """Names and tooltips of a node's inputs and outputs; in English nothing, for they are its own."""
    if language == "en":
        return {"inputs": {}, "outputs": {}}
    nodes = json.loads((LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8"))
    return {"outputs": {}} | nodes[info["name"]]


def input_list(info: dict, language: str) -> str:
    words, said = WORDS[language], translation(info, language)["inputs"]
    rows = []
    for name, spec in input_specs(info).items():
        own = said.get(name, {})
        value = value_of(name, spec, name in info["input"].get("optional", {}), words)
        rows.append((titled(name, own), value, own.get("tooltip") or options_of(spec)["tooltip"]))
    return list_of(words["inputs"], rows, words)


def output_list(info: dict, language: str) -> str:
    words, said = WORDS[language], translation(info, language)["outputs"]
    rows = []
    for index, (name, kind) in enumerate(zip(info["output_name"], info["output"], strict=True)):
        own = said.get(str(index), {})
        rows.append((titled(name, own), kind, own.get("tooltip") or info["output_tooltips"][index]))
    return list_of(words["outputs"], rows, words)


def titled(name: str, own: dict) -> str:
    """An input's or output's name as the node's description has it, and as a translation shows it."""
    return f"`{name}` {own['name']}" if "name" in own else f"`{name}`"


def value_of(name: str, spec: list, optional: bool, words: dict) -> str:
    """Default and range of a widget, the type of a socket."""
    options = options_of(spec)
    if is_widget(spec):
        notes = [widget_value(name, kind_of(spec), options, words)]
    else:
        notes = [kind_of(spec), *([words["optional"]] if optional else [])]
    return words["and"].join([*notes, *([words["advanced"]] if options.get("advanced") else [])])


def widget_value(name: str, kind: str, options: dict, words: dict) -> str:
    if name in FILES:
        return words["file"]
    if kind == "BOOLEAN":
        return words["on"] if options["default"] else words["off"]
    if kind == "STRING":
        return options.get("default") or words["empty"]
    if kind == "COMBO":
        choices = options["options"]
        others = [choice for choice in choices if choice != options["default"]]
        return ", ".join([f"**{options['default']}**", *(others if len(choices) <= MOST_CHOICES else ["..."])])
    pattern = words["range" if options["max"] < ENDLESS else "from"]
    return pattern.format(*(f"{options[name]:g}" for name in ("default", "min", "max")))


def list_of(title: str, rows: list[tuple[str, str, str]], words: dict) -> str:
    return f"**{title}**\n\n" + "".join(words["entry"].format(*row) + "\n" for row in rows)

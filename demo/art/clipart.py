"""Collections of finished drawings: emoji sets and clip art, in families of drawings that differ in detail."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .sources import Sources

SKIN_TONES = re.compile(r"-?(medium-light|medium-dark|light|medium|dark)-skin-tone|-?type-[1-6]")
PERSONS = re.compile(r"^(man|woman|person|men|women|people|boy|girl|mr|mrs)-")
UNWANTED_NAMES = re.compile(r"flag|regional|keycap|input-|button|clock|.*-button$")
UNWANTED_CATEGORIES = {"Flags", "Symbols", "Logos", "ArrowsDiagrams", "InterfaceEssential", "Modifiers"}
UNWANTED_GROUPS = ("flags", "symbols", "component", "extras-unicode")
LARGEST_FILE = 300_000  # bytes of an SVG: a larger one is a traced photograph
CLIPART_FOLDERS = (
    "animals", "buildings", "containers", "decorations", "education", "electronics", "food", "people", "plants",
    "recreation", "science", "tools", "transportation", "special", "unsorted",
)  # fmt: skip


@dataclass(frozen=True)
class Collection:
    """`name` is the package's, without a scope; `trained`: False keeps it for the test."""

    name: str
    by: str
    license: str
    trained: bool = True


COLLECTIONS = (
    Collection("noto", "Google", "Apache 2.0"),
    Collection("twemoji", "Twitter and contributors", "CC BY 4.0"),
    Collection("fluent-emoji-flat", "Microsoft", "MIT"),
    Collection("fxemoji", "Mozilla", "Apache 2.0"),
    Collection("emojione", "EmojiTwo", "CC BY 4.0"),
    Collection("openclipart-svg", "the contributors of the Open Clip Art Library", "public domain"),
    Collection("streamline-emojis", "Streamline", "CC BY 4.0", trained=False),
    Collection("openmoji", "OpenMoji", "CC BY-SA 4.0", trained=False),
)


@dataclass(frozen=True)
class Drawing:
    """`source` is an SVG or the path of one, `lines` the same for the artist's own line art, if there is any."""

    source: str | Path
    family: str
    lines: Path | None = None


def families(collection: Collection, sources: Sources) -> list[list[Drawing]]:
    """The drawings of a collection by their family; none where it is not installed."""
    read = {"openmoji": openmoji, "openclipart-svg": openclipart}.get(collection.name, iconify)
    groups: dict[str, list[Drawing]] = {}
    for drawing in read(collection.name, sources):
        groups.setdefault(drawing.family, []).append(drawing)
    return [groups[family] for family in sorted(groups)]


def iconify(name: str, sources: Sources) -> Iterator[Drawing]:
    folder = sources.npm / "@iconify-json" / name
    icons = json.loads((folder / "icons.json").read_text("utf-8"))
    categories = json.loads((folder / "metadata.json").read_text("utf-8")).get("categories", {})
    unwanted = {icon for category in UNWANTED_CATEGORIES for icon in categories.get(category, ())}
    size = icons.get("width", 16), icons.get("height", 16)
    for icon, data in sorted(icons["icons"].items()):
        if icon in unwanted or UNWANTED_NAMES.match(icon):
            continue
        box = data.get("left", 0), data.get("top", 0), data.get("width", size[0]), data.get("height", size[1])
        spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        source = f'<svg {spaces} viewBox="{" ".join(map(str, box))}">{data["body"]}</svg>'
        yield Drawing(source, PERSONS.sub("", SKIN_TONES.sub("", icon)))


def openmoji(name: str, sources: Sources) -> Iterator[Drawing]:
    folder = sources.npm / name
    for entry in json.loads((folder / "data" / "openmoji.json").read_text("utf-8")):
        color, lines = (folder / kind / "svg" / f"{entry['hexcode']}.svg" for kind in ("color", "black"))
        if entry["group"] not in UNWANTED_GROUPS and color.exists() and lines.exists():
            yield Drawing(color, entry["skintone_base_hexcode"] or entry["hexcode"], lines)


def openclipart(name: str, sources: Sources) -> Iterator[Drawing]:
    for folder in CLIPART_FOLDERS:
        for path in sorted((sources.debian / name / "usr/share/openclipart/svg" / folder).rglob("*.svg")):
            if not path.is_symlink() and path.stat().st_size <= LARGEST_FILE:
                yield Drawing(path, f"{folder}/{path.stem}")


def svg_text(source: str | Path) -> str:
    return source if isinstance(source, str) else source.read_text("utf-8", errors="replace")

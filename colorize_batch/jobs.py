"""What is to be colored: drawings in natural order, each with its reference, its values and the name of its result."""

import csv
import re
from dataclasses import dataclass, field
from pathlib import Path

from .workflow import VIDEO_INPUTS, Prompt, Slot, find_slot, parse_value, picture_slots, reference_slot, with_values

REPORT = "report.json"
SHEET = "contact-sheet"
PICTURE_ENDINGS = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
VIDEO_ENDINGS = {".mp4", ".webm", ".mov", ".mkv", ".avi"}


@dataclass(frozen=True)
class Job:
    """One drawing to color. `name` is its result's path in the output folder, without an ending."""

    name: str
    drawing: Path
    prompt: Prompt
    files: dict[Slot, Path] = field(default_factory=dict)  # what goes into the prompt's loaders
    shot: str = ""  # drawings of one shot are colored in order by one worker
    previous: Slot | None = None  # the loader, if any, that takes the last colored frame of the shot
    missing: str = ""  # the sentence for a job that cannot be done at all


@dataclass(frozen=True)
class Row:
    """What a table says of one drawing."""

    values: dict[Slot, object]
    files: dict[Slot, Path]


def natural(path: Path) -> list:
    """A key that sorts page2 before page10, folder by folder."""
    return [
        [(int(part), "") if part.isdigit() else (-1, part.lower()) for part in re.split(r"(\d+)", name) if part]
        for name in path.parts
    ]


def drawings_in(folder: Path, out: Path, slot: Slot) -> list[Path]:
    """Every picture file (video, where `slot` loads one) below a folder, relative to it, in natural order.

    `out` is left out. Raises ValueError.
    """
    if not folder.is_dir():
        raise ValueError(f"--drawings: {folder} is no folder.")
    kind, endings = ("video", VIDEO_ENDINGS) if slot[1] in VIDEO_INPUTS else ("picture", PICTURE_ENDINGS)
    found = (path for path in folder.rglob("*") if path.suffix.lower() in endings and path.is_file())
    results = out if out.is_relative_to(folder) else None
    drawings = sorted((path.relative_to(folder) for path in found if results not in path.parents), key=natural)
    if not drawings:
        raise ValueError(f"--drawings: {folder} has no {kind} ({', '.join(sorted(endings))}).")
    by_name: dict[str, Path] = {}
    for path in drawings:
        other = by_name.setdefault(result_name(path), path)
        if other != path:
            raise ValueError(f"--drawings: {other} and {path} would have the same result: rename one of them.")
    return drawings


def result_name(drawing: Path) -> str:
    return drawing.with_suffix("").as_posix()


def existing_results(out: Path) -> dict[str, Path]:
    """The results that are there already, by their names: of each one file, the first by its ending."""
    own = {out / REPORT, *out.glob(f"{SHEET}-*")}
    files = sorted((path for path in out.rglob("*") if path.is_file() and path not in own), reverse=True)
    return {result_name(path.relative_to(out)): path for path in files}


def find_reference(references: Path, drawing: Path) -> Path | None:
    """The reference of a drawing: that file, or in that folder what is named as the drawing or a folder it lies in."""
    if references.is_file():
        return references
    names = [drawing.with_suffix(""), *(parent for parent in drawing.parents if parent.name)]
    for name in names:
        folder = (references / name).parent
        found = [path for path in sorted(folder.glob("*")) if path.stem == name.name]
        if pictures := [path for path in found if path.suffix.lower() in PICTURE_ENDINGS]:
            return pictures[0]
    return None


def read_table(path: Path, prompt: Prompt, reference: Slot | None) -> dict[str, Row]:
    """A CSV file's rows by their drawing, such as `page1/003.png`.

    Its columns: `drawing`, if wanted `reference`, and any NODE.INPUT: a picture file where the node loads one (relative
    to the table), else a value. An empty cell leaves what the workflow has. Raises ValueError.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = list(csv.DictReader(file))
    except OSError as error:
        raise ValueError(f"--table: {path} cannot be read: {error.strerror}.") from None
    if not lines or "drawing" not in lines[0]:
        raise ValueError(f"--table: {path} needs a first line that names its columns, with 'drawing' among them.")
    slots = {
        column: (reference or reference_slot(prompt)) if column == "reference" else find_slot(prompt, column)
        for column in lines[0]
        if column not in ("drawing", None)
    }
    pictures = {*picture_slots(prompt), slots.get("reference")}
    rows = {}
    for line in lines:
        filled = {slots[column]: cell for column, cell in line.items() if column in slots and cell}
        values = {slot: parse_value(cell) for slot, cell in filled.items() if slot not in pictures}
        files = {slot: path.parent / cell for slot, cell in filled.items() if slot in pictures}
        rows[Path(line["drawing"]).as_posix()] = Row(values, files)
    return rows


def make_jobs(
    drawings: Path,
    paths: list[Path],
    prompt: Prompt,
    drawing: Slot,
    reference: tuple[Slot, Path] | None,
    table: dict[str, Row],
    previous: Slot | None,
) -> list[Job]:
    """A job for each drawing (`paths`, relative to the folder `drawings`); what a table says goes before `reference`.

    `previous` takes the last colored frame, for the first one its reference. A file that is not there makes a job that
    says so, and no error: the others are to be colored all the same. Raises ValueError for a table of other drawings.
    """
    if unknown := sorted(set(table) - {path.as_posix() for path in paths}):
        raise ValueError(f"--table: there is no drawing {unknown[0]} in {drawings}.")
    jobs = []
    for path in paths:
        row = table.get(path.as_posix(), Row({}, {}))
        files = {drawing: drawings / path}
        missing = ""
        if reference and reference[0] not in row.files:
            slot, references = reference
            if found := find_reference(references, path):
                files[slot] = found
            else:
                names = " nor ".join(f"{name}.*" for name in (path.with_suffix("").as_posix(), *folders_of(path)))
                missing = f"It has no reference: in {references} there is no {names}."
        files |= row.files
        if previous and reference and reference[0] in files:
            files[previous] = files[reference[0]]
        absent = [str(file) for file in files.values() if not file.is_file()]
        missing = missing or (f"There is no file {absent[0]}." if absent else "")
        shot = path.parent.as_posix()
        filled = with_values(prompt, row.values)
        jobs.append(Job(result_name(path), drawings / path, filled, files, shot, previous, missing))
    return jobs


def folders_of(path: Path) -> list[str]:
    return [parent.as_posix() for parent in path.parents if parent.name]

"""What a batch leaves beside its results: a report as JSON, and contact sheets to look at."""

import json
import os
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

from .jobs import REPORT, SHEET
from .schedule import Outcome

CELL = 192  # pixels of a picture on a contact sheet
LABEL = 14
COLUMNS = 8
ROWS = 12


def write_atomically(path: Path, data: bytes) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(data)
    os.replace(partial, path)


def write_report(out: Path, workflow: Path, outcomes: list[Outcome], seconds: float) -> dict:
    """Writes report.json into the output folder; gives its content."""
    states = ("done", "skipped", "failed")
    workers = sorted({outcome.worker for outcome in outcomes if outcome.state == "done"})
    report = {
        "workflow": str(workflow),
        "seconds": round(seconds, 3),
        **{state: sum(outcome.state == state for outcome in outcomes) for state in states},
        "workers": {
            worker: sum(outcome.worker == worker and outcome.state == "done" for outcome in outcomes)
            for worker in workers
        },
        "drawings": [
            {
                "drawing": str(outcome.job.drawing),
                "state": outcome.state,
                "files": [path.relative_to(out).as_posix() for path in outcome.files],
                "seconds": round(outcome.seconds, 3),
                "worker": outcome.worker,
                "why": outcome.why,
            }
            for outcome in outcomes
        ],
    }
    write_atomically(out / REPORT, json.dumps(report, indent=1, ensure_ascii=False).encode())
    return report


def write_contact_sheets(out: Path, outcomes: list[Outcome]) -> list[Path]:
    """Writes contact-sheet-1.jpg, ...: every result with its name, and every failed drawing crossed out."""
    per_sheet = COLUMNS * ROWS
    paths = []
    for start in range(0, len(outcomes), per_sheet):
        path = out / f"{SHEET}-{start // per_sheet + 1}.jpg"
        partial = path.with_name(f".{path.name}.partial")
        contact_sheet(outcomes[start : start + per_sheet]).save(partial, "JPEG", quality=88)
        os.replace(partial, path)
        paths.append(path)
    return paths


def contact_sheet(outcomes: list[Outcome]) -> Image.Image:
    rows = -(-len(outcomes) // COLUMNS)
    columns = min(COLUMNS, len(outcomes))
    sheet = Image.new("RGB", (columns * CELL, rows * (CELL + LABEL)), "white")
    pen = ImageDraw.Draw(sheet)
    for index, outcome in enumerate(outcomes):
        x, y = index % COLUMNS * CELL, index // COLUMNS * (CELL + LABEL)
        failed = outcome.state == "failed"
        if picture := thumbnail(outcome.job.drawing if failed else outcome.files[0]):
            sheet.paste(picture, (x + (CELL - picture.width) // 2, y + (CELL - picture.height) // 2))
        if failed:
            pen.line((x + 4, y + 4, x + CELL - 4, y + CELL - 4), fill="red", width=3)
            pen.line((x + 4, y + CELL - 4, x + CELL - 4, y + 4), fill="red", width=3)
        pen.text((x + 4, y + CELL), outcome.job.name[-30:], fill="red" if failed else "black")
    return sheet


def thumbnail(path: Path) -> Image.Image | None:
    """The picture of a file at the size of a cell; None where it is none (a broken drawing, a video)."""
    try:
        with Image.open(path) as picture:
            picture.draft("RGB", (CELL, CELL))
            picture = ImageOps.exif_transpose(picture).convert("RGBA")
    except (OSError, ValueError):
        return None
    picture.thumbnail((CELL - 8, CELL - 8))
    ground = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(ground, picture).convert("RGB")

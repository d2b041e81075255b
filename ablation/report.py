"""Runs the whole ablation and reports it: numbers, tables and sheets."""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from colorize_core.files import atomic_write

from .data import LARGE_SIZE, encoded_figures
from .evaluation import GUIDANCES, SHEET_ROWS, measure_denoiser
from .training import SEEDS, SETUPS, hints_of, trained_base, trained_setup
from .unseen import Unseen, unseen_figures

HEADING = 20  # pixels for the names of the columns
COLUMNS = {  # of the tables: heading, which is better, key
    "color error, matching": ("lower", "matching: color error"),
    "color error, mismatched": ("lower", "color error"),
    "line fidelity, mismatched": ("higher", "line fidelity"),
    "region correctness, mismatched": ("higher", "region correctness"),
    "leak of the layout": ("nearer to 0", "leak"),
}


def run(folder: Path, output: Path, demo: Path) -> None:
    """Trains and measures everything, seed after seed; `output` gets results.json, table.md and sheets.

    Unfinished work lies in `folder`; killed at any moment, it goes on. CLIP and autoencoder are those of `demo`.
    """
    clip, vae_file = demo / "clip-demo.safetensors", demo / "colorize-demo.safetensors"
    folder = folder / hashlib.sha256(clip.read_bytes()).hexdigest()[:8]  # another CLIP's work is not to be gone on with
    folder.mkdir(parents=True, exist_ok=True)
    data = encoded_figures(folder, clip)
    base = trained_base(data, folder)
    hints = hints_of(base, data.sketch)
    tests = unseen_figures()
    results = {}
    for seed in (None, *SEEDS):
        for setup in SETUPS if seed else ["base"]:
            name = setup if seed is None else f"{setup}, seed {seed}"
            path = folder / f"{name.replace(' ', '')}.pt"
            if not path.exists():
                unet = base if seed is None else trained_setup(base, data, hints, setup, seed, folder)
                found, pictures = measure_denoiser(unet, tests, clip, vae_file)
                with atomic_write(path) as file:
                    torch.save({"found": found, "pictures": torch.from_numpy(pictures)}, file)
            results[name] = torch.load(path, weights_only=True)
            report(results, tests, output)


def report(results: dict[str, dict], tests: Unseen, output: Path) -> None:
    """Writes what there is so far: the numbers, the same as tables, and what was drawn after mismatched references."""
    found = {name: result["found"] for name, result in results.items()}
    output.mkdir(parents=True, exist_ok=True)
    (output / "results.json").write_text(json.dumps(found, indent=1) + "\n")
    tables = [results_table(found, f"guidance {guidance:g}") for guidance in GUIDANCES]
    (output / "table.md").write_text("\n".join(tables))
    drawings = np.stack([np.repeat(f.sketch[..., None], 3, -1) for f in tests.small[:SHEET_ROWS]])
    truths = np.stack([f.color for f in tests.small[:SHEET_ROWS]])
    references = np.stack([f.color for f in tests.references[:SHEET_ROWS]])
    given = {"sketch": drawings, "reference": references, "truth": truths}
    first = [name for name in results if name == "base" or name.endswith(f"seed {SEEDS[0]}")]
    for index, guidance in enumerate(GUIDANCES):
        columns = given | {name: results[name]["pictures"][index].numpy() for name in first}
        results_sheet(columns).save(output / f"sheet-guidance-{guidance:g}.jpg", quality=80)


def results_table(found: dict[str, dict], guidance: str) -> str:
    """A table in Markdown: a row for each run, the measures at this guidance and the losses."""
    headings = [f"{heading} ({better} is better)" for heading, (better, _) in COLUMNS.items()]
    losses = ["loss without reference", "loss with matching reference"]
    lines = [f"## Sampled with {guidance}", "", "| " + " | ".join(["", *headings, *losses]) + " |", "|" + " --- |" * 8]
    for name, result in found.items():
        numbers = [f"{result[guidance][key]:.{1 if 'error' in key else 3}f}" for _, key in COLUMNS.values()]
        numbers += [f"{result[loss]:.4f}" for loss in losses]
        lines.append("| " + " | ".join([name, *numbers]) + " |")
    return "\n".join([*lines, ""])


def results_sheet(columns: dict[str, np.ndarray]) -> Image.Image:
    """Pictures [R,S,S,3] of each column under its name, all at one size."""
    rows = len(next(iter(columns.values())))
    page = Image.new("RGB", (LARGE_SIZE * len(columns), LARGE_SIZE * rows + HEADING), "white")
    pen = ImageDraw.Draw(page)
    for x, (name, pictures) in enumerate(columns.items()):
        pen.text((x * LARGE_SIZE + 4, 4), name, fill="black")
        for y, picture in enumerate(pictures):
            tile = Image.fromarray(picture).resize((LARGE_SIZE, LARGE_SIZE), Image.Resampling.NEAREST)
            page.paste(tile, (x * LARGE_SIZE, HEADING + y * LARGE_SIZE))
    return page

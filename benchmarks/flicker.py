"""Color flicker of a drawn animation, frame by frame and as a shot: `python -m benchmarks.flicker` in the root.

The frames are the demo's figures, moving, each drawn anew as by hand. Flicker is how much a region's mean color changes
from a frame to the next (0..255), error how far it is from the color that the figure has.
"""

import json
import math
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from colorize_batch.jobs import Job, drawings_in, make_jobs
from colorize_batch.pools import LocalPool
from colorize_batch.schedule import color, make_shots
from colorize_batch.worker import Settings
from colorize_batch.workflow import Prompt, drawing_slot, previous_slot, reference_slot, with_values
from demo.figures import REGIONS, Figure, random_palette, random_pose, random_style, render
from dev import install_demo, link_pack
from environment import COMFYUI, ROOT

ANIMATIONS, FRAMES, SIZE = 3, 12, 128
VALUES = {("5", "width"): SIZE, ("5", "height"): SIZE, ("8", "steps"): 14}


def animation(seed: int) -> tuple[Figure, list[Figure]]:
    """A figure in another pose, to take colors from, and one that sways and waves."""
    rng = np.random.default_rng(seed)
    palette, pose = random_palette(rng), replace(random_pose(rng), view=1)
    style = replace(random_style(rng), looseness=0.4, line=1.2, sketch_line=1.2)
    frames = []
    for index in range(FRAMES):
        sway = math.sin(2 * math.pi * index / FRAMES)
        moved = replace(
            pose, tilt=0.15 * sway, shift=(0.08 * sway, 0), arms=(0.6 + 0.5 * sway, 0.6 - 0.5 * sway), gaze=0.1 * sway
        )
        frames.append(render(palette, moved, replace(style, looseness_seed=index), SIZE))
    return render(palette, random_pose(rng), style, SIZE), frames


def region_colors(picture: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Mean color [6,3] of each region; NaN where there is none."""
    masks = (regions == index for index in REGIONS.values())
    return np.array([picture[mask].mean(0) if mask.any() else np.full(3, np.nan) for mask in masks])


def measures(pictures: list[np.ndarray], frames: list[Figure]) -> tuple[float, float]:
    """Flicker and error of an animation, both in 0..255."""
    colors = np.array([region_colors(picture, f.regions) for picture, f in zip(pictures, frames, strict=True)])
    truth = np.array([region_colors(f.color, f.regions) for f in frames])
    return float(np.nanmean(np.abs(np.diff(colors, axis=0)))), float(np.nanmean(np.abs(colors - truth)))


def jobs_of(prompt: Prompt, folder: Path, out: Path, *, shot: bool) -> list[Job]:
    prompt = with_values(prompt, VALUES)
    drawing = drawing_slot(prompt)
    paths = drawings_in(folder / "drawings", out, drawing)
    references = reference_slot(prompt), folder / "references"
    previous = previous_slot(prompt) if shot else None
    return make_jobs(folder / "drawings", paths, prompt, drawing, references, {}, previous)


def main() -> None:
    together = json.loads((ROOT / "demo" / "shot.json").read_text())
    alone = with_values(together, {("8", "latent"): ["5", 1], ("8", "denoise"): 1})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        install_demo(folder)
        link_pack(folder / "custom_nodes")
        animations = {str(seed): animation(seed) for seed in range(ANIMATIONS)}
        for seed, (reference, frames) in animations.items():
            (folder / "drawings" / seed).mkdir(parents=True)
            (folder / "references").mkdir(exist_ok=True)
            Image.fromarray(reference.color).save(folder / "references" / f"{seed}.png")
            for index, frame in enumerate(frames):
                Image.fromarray(frame.sketch).save(folder / "drawings" / seed / f"{index}.png")
        print(f"{ANIMATIONS} animations of {FRAMES} frames   flicker   error")
        report(
            "the figures' own colors",
            [measures([f.color for f in frames], frames) for _, frames in animations.values()],
        )
        for label, prompt, shot in (("each frame on its own", alone, False), ("as a shot", together, True)):
            out = folder / label
            pool = LocalPool(Settings(out, COMFYUI, ("--base-directory", name)))
            outcomes = list(color(make_shots(jobs_of(prompt, folder, out, shot=shot), shot), pool, {}))
            pool.close()
            pictures = {outcome.job.name: np.asarray(Image.open(outcome.files[0])) for outcome in outcomes}
            report(
                label,
                [
                    measures([pictures[f"{seed}/{index}"] for index in range(FRAMES)], frames)
                    for seed, (_, frames) in animations.items()
                ],
            )


def report(label: str, measured: list[tuple[float, float]]) -> None:
    flicker, error = np.mean(measured, axis=0)
    each = ", ".join(f"{value:.2f}" for value, _ in measured)
    print(f"{label:24} {flicker:10.2f} {error:8.1f}   (flicker of each: {each})", flush=True)


if __name__ == "__main__":
    main()

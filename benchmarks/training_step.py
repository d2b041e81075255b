"""How long a step of the training takes with each of its options of speed, on the demo model and drawn pictures.

    python -m benchmarks.training_step [--size 128] [--batch 8] [--steps 12]

The first third of the steps, in which things are compiled and warmed up, is not counted.
"""

import argparse
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from colorize_core.host import standalone

ROOT = Path(__file__).parents[1]
DEMO_MODEL, DEMO_CLIP = (ROOT / "demo" / f"{name}-demo.safetensors" for name in ("colorize", "clip"))
OPTIONS = {
    "as by default": [],
    "encoded pictures (data.cache)": ["data.cache=cache"],
    "mixed_precision: bf16": ["training.mixed_precision=bf16"],
    "channels_last": ["training.channels_last=true"],
    "compile": ["training.compile=true"],
    "gradient_checkpointing": ["training.gradient_checkpointing=true"],
    "weights.part: lora": ["weights.part=lora"],
}


def experiment_text(size: int, batch: int, steps: int) -> str:
    return f"""
start: {{kind: checkpoint, file: {DEMO_MODEL.as_posix()}}}
clip: {DEMO_CLIP.as_posix()}
data: {{root: pictures, resolutions: [{size}], batch_size: {batch}, workers: 1}}
output: output
strategy: {{noisy_rate: 0.5, drop_rate: 0.5}}
training: {{steps: {steps}, ema: 0}}
"""


def seconds_per_step(file: Path, overrides: list[str]) -> float:
    """The median of the counted steps, each from one loss to the next."""
    from accelerate.state import AcceleratorState

    from colorize_core.training import colorizer, config, encoded, loader, processes, trainer
    from colorize_core.training.data import PictureFolder

    AcceleratorState._reset_state(reset_partial_state=True)
    experiment = config.load(file, overrides)
    accelerator = processes.start_processes(experiment.training.mixed_precision)
    model, start, encoders = colorizer.build_model(experiment)
    pictures = loader.picture_dataset(PictureFolder(experiment.data.root), experiment.data, experiment.deformation)
    cached = None
    if experiment.data.cache:
        cached = encoded.encode_pictures(accelerator, pictures, encoders, experiment.data.cache, {})
    loss, begins = colorizer.loss_of(experiment, start.config.prediction, encoders), []

    def timed(model, part):
        begins.append(time.perf_counter())
        return loss(model, part)

    batches = colorizer.batches_of(experiment, pictures, accelerator, cached)
    with tempfile.TemporaryDirectory() as folder:
        trainer.train(accelerator, model, batches, timed, experiment.training, Path(folder), saves=False)
    steps = [after - before for before, after in itertools.pairwise(begins)]
    return statistics.median(steps[len(steps) // 3 :])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=12)
    options = parser.parse_args()
    standalone.find_comfyui()
    from colorize_core.training.processes import start_processes

    standalone.prepare(start_processes().device.type)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        drawn = [sys.executable, "-m", "demo.pictures", str(folder / "pictures"), "--pairs", "8", "--size"]
        subprocess.run([*drawn, str(options.size)], cwd=ROOT, check=True)
        file = folder / "experiment.yaml"
        file.write_text(experiment_text(options.size, options.batch, options.steps))
        for name, overrides in OPTIONS.items():
            try:
                seconds = seconds_per_step(file, overrides)
            except Exception as error:  # what a machine lacks, such as a compiler, is no reason to leave the others out
                print(f"{name:32} {type(error).__name__}: {str(error).splitlines()[0]}", flush=True)
                continue
            print(f"{name:32} {1000 * seconds:7.0f} ms, {options.batch / seconds:6.1f} pictures a second", flush=True)


if __name__ == "__main__":
    main()

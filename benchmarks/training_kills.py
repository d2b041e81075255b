"""The training command as one process and as two, and killed again and again: whether the losses and the files agree.

    python -m benchmarks.training_kills [--kills 10] [--steps 20]

It trains the demo model on, on pictures that it draws, in a folder that is thrown away. Not for Windows.
"""

import argparse
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMFYUI = Path(os.environ.get("COMFYUI_PATH", ROOT / ".comfyui")).resolve()
DEMO_MODEL, DEMO_CLIP = (ROOT / "demo" / f"{name}-demo.safetensors" for name in ("colorize", "clip"))
EXPERIMENT = f"""
start: {{kind: checkpoint, file: {DEMO_MODEL.as_posix()}}}
clip: {DEMO_CLIP.as_posix()}
data: {{root: pictures, resolutions: [64], batch_size: 4, workers: 1}}
output: output
strategy: {{noisy_rate: 0.5, drop_rate: 0.5, sketch_drop_rate: 0.1, offset_noise: 0.05}}
training: {{steps: 20, learning_rate: 1e-4, save_every: 3}}
samples: 0
validation: {{share: 0}}
"""
RECORD = "losses.csv"


def launcher(processes: int) -> list[str]:
    if processes == 1:
        return [sys.executable]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--master_port", port]
    return [*torchrun, "--nproc_per_node", str(processes)]


def begin(folder: Path, output: str, steps: int, processes: int = 1) -> subprocess.Popen:
    changes = ["--set", f"output={output}", "--set", f"training.steps={steps}"]
    command = [*launcher(processes), "-m", "colorize_core.training", str(folder / "experiment.yaml"), *changes]
    environment = os.environ | {"PYTHONPATH": str(COMFYUI), "OMP_NUM_THREADS": "1"}
    with (folder / f"{output}.log").open("a") as log:
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)


def finish(folder: Path, output: str, steps: int, processes: int = 1) -> None:
    if begin(folder, output, steps, processes).wait():
        sys.exit((folder / f"{output}.log").read_text())


def rows(folder: Path, output: str) -> list[str]:
    record = folder / output / RECORD
    return record.read_text().splitlines()[1:] if record.exists() else []


def largest_difference(folder: Path, one: str, other: str) -> float:
    losses = [[float(row.split(",")[1]) for row in rows(folder, output)] for output in (one, other)]
    return max(abs(a - b) for a, b in zip(*losses, strict=True))


def kill_until_done(folder: Path, output: str, steps: int, kills: int, processes: int) -> list[int]:
    """The rows that the record had at each kill: within some steps of where a run began, at any moment of a step."""
    rng, killed_at = random.Random(0), []
    for _ in range(kills):
        ahead = min(steps - 1, len(rows(folder, output)) // 3 * 3 + rng.randrange(1, 5))
        process = begin(folder, output, steps, processes)
        while process.poll() is None and len(rows(folder, output)) < ahead:
            time.sleep(0.002)
        time.sleep(rng.random() * 0.4)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            killed_at.append(len(rows(folder, output)))
    finish(folder, output, steps, processes)
    return killed_at


def same_files(folder: Path, one: str, other: str, steps: int) -> bool:
    state = f"step-{steps:08}"
    files = [RECORD, *(f"{state}/{name}" for name in ("weights.safetensors", "average.safetensors", "optimizer.pt"))]
    pairs = [(f"{one}/{file}", f"{other}/{file}") for file in files]
    pairs.append((f"{one}/{one}.safetensors", f"{other}/{other}.safetensors"))
    return all((folder / a).read_bytes() == (folder / b).read_bytes() for a, b in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    steps, half = options.steps, options.steps // 2
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        drawn = [sys.executable, "-m", "demo.pictures", str(folder / "pictures"), "--pairs", "8", "--size", "64"]
        subprocess.run(drawn, cwd=ROOT, check=True)
        (folder / "experiment.yaml").write_text(EXPERIMENT)
        finish(folder, "alone", steps)
        for output, launches in {
            "together": [(2, steps)],
            "alone-then-together": [(1, half), (2, steps)],
            "together-then-alone": [(2, half), (1, steps)],
        }.items():
            for processes, until in launches:
                finish(folder, output, until, processes)
            print(f"{output}: {steps} losses, at most {largest_difference(folder, 'alone', output):.1e} from alone")
        for output, kills, processes in (("killed", options.kills, 1), ("killed-together", options.kills // 4, 2)):
            at = kill_until_done(folder, output, steps, kills, processes)
            print(f"{output}: {len(at)} kills, at the rows {at}; {largest_difference(folder, 'alone', output):.1e} off")
            if processes == 1:
                print(f"{output}: every file the same as alone: {same_files(folder, 'alone', output, steps)}")


if __name__ == "__main__":
    main()

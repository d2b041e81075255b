"""The training command itself, as one process and as two, on the demo's model and pictures."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

ROOT = Path(__file__).parents[3]
COMFYUI = Path(os.environ.get("COMFYUI_PATH", ROOT / ".comfyui")).resolve()
EXPERIMENT = f"""
start: {{kind: checkpoint, file: {(ROOT / "demo" / "colorize-demo.safetensors").as_posix()}}}
clip: {(ROOT / "demo" / "clip-demo.safetensors").as_posix()}
data: {{root: pictures, resolutions: [64], batch_size: 4, workers: 0}}
output: mine
strategy: {{noisy_rate: 0.5, drop_rate: 0.5, sketch_drop_rate: 0.1, offset_noise: 0.05}}
training: {{steps: 4, learning_rate: 1e-4, save_every: 2}}
samples: 0
"""
ONE = (sys.executable,)
pytestmark = pytest.mark.skipif(os.name == "nt", reason="gloo's processes are started by torchrun")


def two() -> tuple[str, ...]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    return (sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", port)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("processes")
    drawn = [sys.executable, "-m", "demo.pictures", str(folder / "pictures"), "--pairs", "4", "--size", "64"]
    subprocess.run(drawn, cwd=ROOT, check=True)
    (folder / "experiment.yaml").write_text(EXPERIMENT)
    return folder


def train(folder: Path, launcher: tuple[str, ...], output: str, *overrides: str, **environment: str):
    changes = [word for override in (f"output={output}", *overrides) for word in ("--set", override)]
    command = [*launcher, "-m", "colorize_core.training", str(folder / "experiment.yaml"), *changes]
    environment = os.environ | {"PYTHONPATH": str(COMFYUI), "OMP_NUM_THREADS": "1"} | environment
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def losses(folder: Path, output: str) -> list[float]:
    return [float(line.split(",")[1]) for line in (folder / output / "losses.csv").read_text().splitlines()[1:]]


def test_one_process_and_two_train_the_same_and_either_goes_on_from_the_other(folder):
    first, rest = ("training.steps=2",), ()
    runs = {"alone": [(ONE, rest)], "joined": [(ONE, first), (two(), rest)], "left": [(two(), first), (ONE, rest)]}
    for output, launches in runs.items():
        for launcher, overrides in launches:
            done = train(folder, launcher, output, *overrides)
            assert done.returncode == 0, done.stderr
            assert f"processes  {1 if launcher is ONE else 2}, " in done.stdout
    alone = losses(folder, "alone")
    assert len(alone) == 4 and len(set(alone)) == 4
    expected = load_file(folder / "alone" / "step-00000004" / "weights.safetensors")
    for output in ("joined", "left"):
        assert losses(folder, output) == pytest.approx(alone, abs=1e-6)
        weights = load_file(folder / output / "step-00000004" / "weights.safetensors")
        assert all((weight - expected[name]).abs().max() < 1e-4 for name, weight in weights.items())


def test_a_launch_that_would_quietly_train_as_one_process_is_refused(folder):
    launcher = (sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2")
    refused = train(folder, launcher, "refused")
    assert refused.returncode != 0 and "torchrun --nproc_per_node 2" in refused.stderr
    assert not (folder / "refused").exists()

"""How much memory a picture takes: `python -m benchmarks.memory [FOLDER]`, with ComfyUI's folder in `PYTHONPATH`.

Computed, for every version: its weights as stored, and what ComfyUI reckons for a guided step and for the VAE's
decoding of one picture of the size that it was trained at, in half precision.

With FOLDER, also measured: a file of the published v1 size with random weights, written there once, is loaded with each
kind of storage in a process of its own, a guided step of 512 pixels computed, and a picture decoded. On a CPU it is the
memory of the process's own (without the pages of the file that the system holds anyway), on a GPU PyTorch's on it.
"""

import subprocess
import sys
from pathlib import Path

import torch
from comfy.cli_args import args

from .meter import ON_GPU, MemoryWatch

args.cpu = not ON_GPU
args.use_pytorch_cross_attention = True

import comfy.model_base
import comfy.model_management
import comfy.ops

from colorize_core.host.load import load_checkpoint
from colorize_core.host.versions import host_config

from . import published
from .published_size import CONFIGS, write

STORAGE = {"as in the file": "", "fp16": "fp16_unet", "bf16": "bf16_unet", "fp8": "fp8_e4m3fn_unet"}
PIXELS = 512


def gigabytes(count: float) -> str:
    return f"{count / 1e9:.2f} GB"


def computed() -> None:
    """ComfyUI's own reckoning, where its attention needs no matrix of all pairs (`comfy.model_base`, `comfy.sd`)."""
    print("| | pixels | weights in fp16 | in fp8 | a guided step | decoding |\n| --- | --- | --- | --- | --- | --- |")
    for name, config in CONFIGS.items():
        host, side = host_config(config), config.version.side
        network = host.unet_class(
            **host.unet_config, config=config, device="meta", operations=comfy.ops.disable_weight_init
        )
        weights = sum(parameter.numel() for parameter in network.parameters())
        pixels = (side // 8) ** 2
        step = 2 * pixels * 2 * 0.01 * host.memory_usage_factor * 2**20
        decoding = 2178 * 64 * pixels * 2
        cells = (weights * 2, weights, step, decoding)
        print(f"| {name} | {side} | {' | '.join(map(gigabytes, cells))} |")


def peak(work) -> float:
    """The largest memory while `work()` runs, in bytes."""
    if ON_GPU:
        torch.cuda.reset_peak_memory_stats()
        work()
        return torch.cuda.max_memory_allocated()
    with MemoryWatch() as watch:
        work()
    return watch.own


@torch.inference_mode()
def one(path: Path, flag: str) -> None:
    """Prints a line's cells: memory after loading, in a step and in decoding."""
    if flag:
        setattr(args, flag, True)
    model, vae = load_checkpoint(str(path))
    comfy.model_management.load_models_gpu([model])
    loaded = peak(lambda: None)
    step = published.step(model.model, published.random_tokens(), PIXELS, 1)
    latent = torch.randn(1, 4, PIXELS // 8, PIXELS // 8)
    stepping = peak(step)
    decoding = peak(lambda: vae.decode(latent))
    print(" | ".join(map(gigabytes, (loaded, stepping, decoding))))


def main():
    if len(sys.argv) == 3:
        one(Path(sys.argv[1]), sys.argv[2])
        return
    computed()
    if len(sys.argv) < 2:
        return
    path = Path(sys.argv[1]) / "v1-published-size.safetensors"
    if not path.exists():
        write(path, CONFIGS["v1"])
    print("\n| v1, 512 pixels | loaded | in a step | in decoding |\n| --- | --- | --- | --- |")
    for name, flag in STORAGE.items():
        command = [sys.executable, "-m", "benchmarks.memory", str(path), flag]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        print(f"| {name} | {done.stdout.splitlines()[-1]} |", flush=True)


if __name__ == "__main__":
    main()

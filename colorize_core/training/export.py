"""Trained weights as files that the nodes load: half precision, and whole or not there at all."""

import os
from pathlib import Path

import torch
from safetensors.torch import save_file

from ..checkpoint import Config, file_contents


def save_checkpoint(
    path: Path,
    config: Config,
    unet: dict,
    vae: dict,
    metadata: dict[str, str] | None = None,
    token_type: str | None = None,
) -> None:
    """A checkpoint in the published layout; the arguments are those of `checkpoint.file_contents`."""
    weights, about = file_contents(config, unet, vae, token_type)
    save_weights(weights, path, about | (metadata or {}))


def save_weights(weights: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
    """A .safetensors file of `weights`, written beside `path` and renamed."""
    halved = {k: (v.half() if v.is_floating_point() else v).cpu().contiguous() for k, v in weights.items()}
    unfinished = path.with_suffix(".unfinished")
    save_file(halved, unfinished, metadata)
    os.replace(unfinished, path)

"""Trained weights as files that the nodes load: half precision, and whole or not there at all."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from ..checkpoint.config import Config
from ..checkpoint.writing import file_contents
from ..files import atomic_write


def save_checkpoint(
    path: Path,
    config: Config,
    unet: dict,
    vae: dict,
    metadata: dict[str, str] | None = None,
    token_type: str | None = None,
) -> None:
    """A checkpoint in the published layout; the arguments are those of `file_contents`."""
    weights, own = file_contents(config, unet, vae, token_type)
    save_weights(weights, path, own | (metadata or {}))


def save_weights(weights: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
    """A .safetensors file of `weights` in half precision."""
    with atomic_write(path) as file:
        save_file(halved(weights), file, metadata)


def halved(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`weights` in half precision, on the CPU; whole numbers stay as they are."""
    return {k: (v.half() if v.is_floating_point() else v).cpu().contiguous() for k, v in weights.items()}

"""The keys of a published file: where the denoiser, what belongs to it, and the VAE lie in it."""

from collections.abc import Mapping, Sequence

import torch

UNET_PREFIX = "model.diffusion_model."
VAE_PREFIX = "first_stage_model."
VAE_PARTS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")

StateDict = Mapping[str, torch.Tensor]


def to_published_keys(unet: StateDict, parts: Sequence[str]) -> dict[str, torch.Tensor]:
    """The denoiser's own state dict (no prefix) under the keys of a published file.

    What starts with one of `parts`, such as `control_encoder.`, lies beside the denoiser in a file, and inside it here.
    """
    beside = tuple(parts)
    return {key if key.startswith(beside) else UNET_PREFIX + key: value for key, value in unet.items()}


def from_published_keys(checkpoint: StateDict, parts: Sequence[str] = ()) -> dict[str, torch.Tensor]:
    """The denoiser's own state dict from that of a published file; what is not the denoiser's is left out.

    `parts` are as in `to_published_keys`; those that lie inside the denoiser already are taken too.
    """
    unet = {key.removeprefix(UNET_PREFIX): value for key, value in checkpoint.items() if key.startswith(UNET_PREFIX)}
    return unet | {key: value for key, value in checkpoint.items() if key.startswith(tuple(parts))}


def vae_weights(checkpoint: StateDict) -> dict[str, torch.Tensor]:
    """The VAE's weights in published keys, from a checkpoint or a VAE's own file; none if there is no VAE in it."""
    own = "" if "decoder.conv_in.weight" in checkpoint else VAE_PREFIX
    parts = tuple(own + part for part in VAE_PARTS)  # a VAE's own file may hold its loss too
    return {VAE_PREFIX + key.removeprefix(own): value for key, value in checkpoint.items() if key.startswith(parts)}


def weight(weights: StateDict, key: str, name: str) -> torch.Tensor:
    """The weight `key`. ValueError, calling the file `name`, where it is missing."""
    if key not in weights:
        raise ValueError(f"{name} lacks the weight {key}: the file is incomplete, download it again.")
    return weights[key]


def count(weights: StateDict, prefix: str) -> int:
    """How many numbers follow `prefix`: 3 for keys that start with `prefix`0., `prefix`1. and `prefix`2."""
    return len({key[len(prefix) :].split(".")[0] for key in weights if key.startswith(prefix)})

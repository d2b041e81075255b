"""The keys of a published file: where the denoiser, what belongs to it, and the VAE lie in it."""

import re
from collections.abc import Mapping, Sequence

import torch

UNET_PREFIX = "model.diffusion_model."
SKETCH_ENCODER = "control_encoder."
VAE_PREFIX = "first_stage_model."
VAE_PARTS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")

StateDict = Mapping[str, torch.Tensor]


# A LoRA of one branch of a cross-attention lies inside the projection in a file, and beside it in the denoiser: the
# host handles only layers that have no others inside.
LORA_INSIDE = re.compile(r"\.(to_[qkv])\.lora_(down|up)_(\w+)\.weight$")
SPLIT_LORA = ".split_lora."
LORA_BESIDE = re.compile(r"\.split_lora\.(to_[qkv])\.(down|up)_(\w+)\.weight$")


def own_key(key: str) -> str:
    """The key that a published one has in the denoiser; `to_published_keys` undoes it."""
    return LORA_INSIDE.sub(r".split_lora.\1.\2_\3.weight", key)


def to_published_keys(unet: StateDict, parts: Sequence[str]) -> dict[str, torch.Tensor]:
    """The denoiser's own state dict (no prefix) under the keys of a published file.

    What starts with one of `parts`, such as `control_encoder.`, lies beside the denoiser in a file, and inside it here.
    """
    beside = tuple(parts)
    published = {LORA_BESIDE.sub(r".\1.lora_\2_\3.weight", key): value for key, value in unet.items()}
    return {key if key.startswith(beside) else UNET_PREFIX + key: value for key, value in published.items()}


def from_published_keys(checkpoint: StateDict, parts: Sequence[str] = ()) -> dict[str, torch.Tensor]:
    """The denoiser's own state dict from that of a published file; what is not the denoiser's is left out.

    `parts` are as in `to_published_keys`; those that lie inside the denoiser already are taken too.
    """
    unet = {key.removeprefix(UNET_PREFIX): value for key, value in checkpoint.items() if key.startswith(UNET_PREFIX)}
    unet |= {key: value for key, value in checkpoint.items() if key.startswith(tuple(parts))}
    return {own_key(key): value for key, value in unet.items()}


def vae_weights(checkpoint: StateDict) -> dict[str, torch.Tensor]:
    """The VAE's weights in published keys, from a checkpoint or a VAE's own file; none if there is no VAE in it."""
    own = "" if "decoder.conv_in.weight" in checkpoint else VAE_PREFIX
    parts = tuple(own + part for part in VAE_PARTS)  # a VAE's own file may hold its loss too
    return {VAE_PREFIX + key.removeprefix(own): value for key, value in checkpoint.items() if key.startswith(parts)}


def weight(weights: StateDict, key: str, name: str, axes: Sequence[int] = (1, 2, 3, 4)) -> torch.Tensor:
    """The weight `key`. ValueError, calling the file `name`, where it is missing, empty or has not as many `axes`."""
    if key not in weights:
        raise ValueError(f"{name} lacks the weight {key}: the file is incomplete, download it again.")
    shape = weights[key].shape
    if len(shape) not in axes or 0 in shape:
        raise ValueError(
            f"{name}: {key} has the shape {list(shape)}, as in no model: the file is damaged or was put together "
            "wrongly, get another."
        )
    return weights[key]


def count(weights: StateDict, prefix: str) -> int:
    """How many numbers follow `prefix`: 3 for keys that start with `prefix`0., `prefix`1. and `prefix`2."""
    return len({key[len(prefix) :].split(".")[0] for key in weights if key.startswith(prefix)})

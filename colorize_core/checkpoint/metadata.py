"""What a file says of itself beyond its weights' shapes: safetensors metadata, and numbers that lie among the weights.

The key `colorize_diffusion_config` of the metadata is a JSON object; of its entries, all optional, are read
`prediction` ("eps" or "v"), `token_type` ("attention" or "cls": which tokens the model was trained on) and the widths
of attention heads, `num_head_channels` of the denoiser, `sketch_head_channels`, `mixer_head_channels`. The widths lie
in the weight `colorize_head_channels` too, since ComfyUI keeps weights and drops metadata.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from .keys import StateDict

METADATA_KEY = "colorize_diffusion_config"
HEAD_CHANNELS_KEY = "colorize_head_channels"  # int64 [3]: denoiser, sketch encoder, token mixer; 0 where there is none
HEAD_CHANNELS_NAMES = ("num_head_channels", "sketch_head_channels", "mixer_head_channels")


@dataclass(frozen=True)
class Facts:
    """What a file says of itself; None where it says nothing. `head_channels` are those of HEAD_CHANNELS_NAMES."""

    prediction: str | None
    token_type: str | None
    head_channels: tuple[int | None, int | None, int | None]


def read_facts(checkpoint: StateDict, metadata: Mapping[str, str] | None, name: str) -> Facts:
    """What the file `name` says of itself. ValueError for what cannot be meant."""
    entries = _entries(metadata, name)
    stored = checkpoint.get(HEAD_CHANNELS_KEY)
    widths = [None] * len(HEAD_CHANNELS_NAMES) if stored is None else [w or None for w in _stored_widths(stored, name)]
    for key in entries.keys() & set(HEAD_CHANNELS_NAMES):
        if type(entries[key]) is not int or entries[key] < 1:
            raise ValueError(
                f"{name}: {key} of its metadata is {entries[key]!r}, which is no width of a head: write the metadata "
                "anew."
            )
    widths = [entries.get(key, width) for key, width in zip(HEAD_CHANNELS_NAMES, widths, strict=True)]
    return Facts(entries.get("prediction"), entries.get("token_type"), tuple(widths))


def own_metadata(prediction: str, token_type: str | None, head_channels: tuple[int, int, int]) -> dict[str, str]:
    """The metadata that `read_facts` reads; `token_type` None stands for a model of both kinds."""
    widths = {key: width for key, width in zip(HEAD_CHANNELS_NAMES, head_channels, strict=True) if width}
    entries = {"prediction": prediction, **widths}
    if token_type is not None:
        entries["token_type"] = token_type
    return {METADATA_KEY: json.dumps(entries)}


def head_channels_weight(head_channels: tuple[int, int, int]) -> dict[str, torch.Tensor]:
    """The weight that `read_facts` reads, by its key."""
    return {HEAD_CHANNELS_KEY: torch.tensor(head_channels, dtype=torch.int64)}


def _entries(metadata: Mapping[str, str] | None, name: str) -> dict[str, Any]:
    text = (metadata or {}).get(METADATA_KEY, "{}")
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        entries = None
    if not isinstance(entries, dict) or entries.get("prediction", "eps") not in ("eps", "v"):
        raise ValueError(
            f"{name}: {METADATA_KEY} of its metadata is {text[:80]}, where a JSON object such as "
            '{"prediction": "eps"} (or v) belongs: write the metadata anew.'
        )
    return entries


def _stored_widths(stored: torch.Tensor, name: str) -> list[int]:
    three = stored.dtype == torch.int64 and stored.shape == (len(HEAD_CHANNELS_NAMES),)
    if not three or stored.min() < 0:
        raise ValueError(
            f"{name}: its weight {HEAD_CHANNELS_KEY} is {stored.dtype} {list(stored.shape)}, where three whole numbers "
            "belong: save the model anew from the file that it was made of."
        )
    return stored.tolist()

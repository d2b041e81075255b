"""The tagger (XL) on the host's memory management: loading a file, a reference picture's features."""

from dataclasses import dataclass
from pathlib import Path

import comfy.model_management
import comfy.model_patcher
import torch

from ..finite import is_finite
from ..tagger import build_tagger, preprocess_for_tagger, tagger_weights
from .files import read_state_dict

BYTES_PER_PICTURE = 512 << 20  # of intermediate results, at most


@dataclass(frozen=True)
class Tagger:
    """A tagger, with the patcher by which the host finds, moves and counts it."""

    patcher: comfy.model_patcher.ModelPatcher


def load_tagger(path: str) -> Tagger:
    """The tagger of a file of its own, or of an XL checkpoint that holds one.

    Raises ValueError, naming the file, for one that is damaged or holds no tagger, and ImportError without timm.
    """
    name = Path(path).name
    network = build_tagger(tagger_weights(read_state_dict(path)[0], name), name)
    management = comfy.model_management
    return Tagger(
        comfy.model_patcher.ModelPatcher(  # the host cannot stream layers that are not of its own classes
            network,
            load_device=management.text_encoder_device(),
            offload_device=management.text_encoder_offload_device(),
        )
    )


def encode_with_tagger(tagger: Tagger, image: torch.Tensor) -> torch.Tensor:
    """The features [B,M,E] of pictures `image` [B,H,W,C] in 0..1, row-major, float32, on the intermediate device.

    M is 196 (14x14), E 1024 for the published tagger. Raises ValueError for a picture that cannot be used,
    and for a tagger whose file is damaged.
    """
    pixels = preprocess_for_tagger(image)
    memory = len(pixels) * BYTES_PER_PICTURE
    comfy.model_management.load_models_gpu([tagger.patcher], memory_required=memory, force_full_load=True)
    features = tagger.patcher.model.forward_features(pixels.to(tagger.patcher.load_device)).flatten(1, 2)
    features = features.to(comfy.model_management.intermediate_device(), torch.float32)
    if not is_finite(features):
        raise ValueError(
            "tagger: what it makes of the picture is NaN, infinite or far too large, so its file is damaged. Get it "
            "again."
        )
    return features

"""XL's second image encoder: the WD tagger, timm's Swin Transformer V2, of which the last map of features is used.

The published model was trained with SmilingWolf's wd-v1-4-swinv2-tagger-v2. Source of the network: arXiv 2111.09883.
"""

import logging
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from .images import rgb_on

logger = logging.getLogger(__name__)

TAGGER_PREFIX = "img_embedder.model."  # in a checkpoint; a file of its own has the same keys without it
TAGGER_FILE = "wd-v1-4-swinv2-tagger-v2 in timm's keys"
MARK = "layers.0.blocks.0.attn.cpb_mlp.0.weight"  # Swin Transformer V2 alone has it
HEAD = "head."  # the tags; no feature goes through it
TAGS = 9083
PICTURE_SIDE, WINDOW = 448, 14  # shapes do not tell
TAGGER_TOKENS = 14 * 14  # of its last map, which is 32 times smaller than the picture


@dataclass(frozen=True)
class SwinConfig:
    """A Swin Transformer V2: `embed_dim` channels in the first stage, and each stage's blocks and heads."""

    embed_dim: int
    depths: tuple[int, ...]
    num_heads: tuple[int, ...]


def tagger_weights(state_dict: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """The tagger's weights but for its head, without prefix, from a file of its own or a checkpoint.

    ValueError, naming the file, if it holds none; a warning if it knows other tags than the one XL was trained with.
    """
    prefix = TAGGER_PREFIX if TAGGER_PREFIX + MARK in state_dict else ""
    if prefix + MARK not in state_dict:
        raise ValueError(
            f"{name} holds no tagger (neither {TAGGER_PREFIX}layers.* nor layers.* of a Swin Transformer V2): "
            f"choose a file of {TAGGER_FILE}, or an XL checkpoint that brings it."
        )
    own = {key.removeprefix(prefix): value for key, value in state_dict.items() if key.startswith(prefix)}
    tags = own.get("head.fc.bias")
    if tags is not None and tags.numel() != TAGS:
        logger.warning("%s knows %d tags where the tagger of the published XL knows %d.", name, tags.numel(), TAGS)
    return {key: value for key, value in own.items() if not key.startswith(HEAD)}


def build_tagger(weights: dict[str, torch.Tensor], name: str) -> nn.Module:
    """timm's network with these weights, float32, on the CPU.

    ValueError, naming the file, for a damaged one; ImportError where timm is not installed.
    """
    swin = import_swin()
    config = detect_swin(weights, name)
    network = swin(
        img_size=PICTURE_SIDE,
        window_size=WINDOW,
        embed_dim=config.embed_dim,
        depths=config.depths,
        num_heads=config.num_heads,
        num_classes=0,
    )
    for key, own in network.state_dict().items():
        if key not in weights:
            raise ValueError(f"{name} lacks the weight {key} of the tagger: it is incomplete, get it again.")
        if weights[key].shape != own.shape:
            raise ValueError(
                f"{name}: {key} has the shape {list(weights[key].shape)} where a tagger of these widths has "
                f"{list(own.shape)}: it is damaged, or another kind of network. Choose {TAGGER_FILE}."
            )
        if not weights[key].is_floating_point():
            raise ValueError(f"{name}: {key} is of the type {weights[key].dtype}. Get the file in float32.")
    network.load_state_dict(weights, strict=False)  # other keys are buffers that older versions of timm stored
    return network.eval().requires_grad_(False)


def detect_swin(weights: dict[str, torch.Tensor], name: str) -> SwinConfig:
    """The configuration of a Swin Transformer V2, from its weights without prefix. ValueError, naming the file, where
    they are those of none."""
    stages = range(_count(weights, "layers."))
    depths = tuple(_count(weights, f"layers.{stage}.blocks.") for stage in stages)
    scales = [weights.get(f"layers.{stage}.blocks.0.attn.logit_scale") for stage in stages]
    norm = weights.get("layers.0.blocks.0.norm1.weight")
    heads = tuple(0 if scale is None or not scale.ndim else len(scale) for scale in scales)
    width = norm.numel() if norm is not None else 0
    fits = width > 0 and all(head and (width << stage) % head == 0 for stage, head in enumerate(heads))
    needed = sum(12 * depth * (width << stage) ** 2 for stage, depth in enumerate(depths))  # of a block: 4 + 8 width^2
    if not fits or needed > 2 * sum(weight.numel() for weight in weights.values()):
        raise ValueError(
            f"{name}: its stages are not those of a Swin Transformer V2: it is damaged, or another kind of network. "
            f"Choose {TAGGER_FILE}."
        )
    return SwinConfig(embed_dim=width, depths=depths, num_heads=heads)


def import_swin() -> type[nn.Module]:
    """timm's Swin Transformer V2. ImportError says how to get it."""
    try:
        from timm.models.swin_transformer_v2 import SwinTransformerV2
    except ImportError as error:
        raise ImportError(
            "timm is not installed: in ComfyUI's Python, run `pip install -r requirements.txt` in the folder of "
            "this node pack, then restart ComfyUI."
        ) from error
    return SwinTransformerV2


def preprocess_for_tagger(image: torch.Tensor) -> torch.Tensor:
    """A reference `image` [B,H,W,C] in 0..1 as the tagger's input [B,3,448,448]: blue, green, red in -1..1.

    Squashed to the square as for CLIP (`tokens.preprocess`). Where it is transparent it shows white. Raises ValueError
    as `images.check` does.
    """
    pixels = rgb_on(image, paper=1.0, name="image").movedim(-1, 1).flip(1)
    side = PICTURE_SIDE
    return F.interpolate(pixels, (side, side), mode="bicubic", align_corners=True, antialias=True) * 2 - 1


def _count(weights: dict[str, torch.Tensor], prefix: str) -> int:
    return len({key[len(prefix) :].split(".")[0] for key in weights if key.startswith(prefix)})

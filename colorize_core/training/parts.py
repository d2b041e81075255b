"""Which weights of a colorizer are trained: all that color, a part of them, or a LoRA beside them.

What only Figure and Background uses is never trained: pictures with masks would be needed.
"""

import re
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from ..checkpoint.config import Config
from ..checkpoint.keys import SKETCH_ENCODER, SPLIT_LORA


@dataclass(frozen=True)
class WeightSettings:
    """Which weights are trained.

    `part` is all of them, those of the denoiser's attentions, those of the sketch encoder, or a LoRA of `rank` and
    `alpha` on the attentions' projections. Raises ValueError for numbers out of range.
    """

    part: Literal["all", "attention", "sketch_encoder", "lora"] = "all"
    rank: int = 16
    alpha: float = 16.0

    def __post_init__(self):
        if self.rank < 1:
            raise ValueError(f"rank: is {self.rank}; allowed is 1 or more.")
        if not self.alpha > 0:
            raise ValueError(f"alpha: is {self.alpha}; allowed is more than 0.")


ATTENTION = re.compile(r"(input_blocks|middle_block|output_blocks)\..*\.attn[12]\.")  # of the denoiser
PROJECTION = ATTENTION.pattern + r"(to_q|to_k|to_v|to_out\.0)"  # what a LoRA is beside
ADAPTER = "default"  # PEFT's name of the one LoRA
BASE = ".base_layer"  # what PEFT has put the LoRA's projection below


def select_weights(unet: nn.Module, settings: WeightSettings) -> None:
    """Leaves gradients to the weights of `unet` that are trained; a LoRA is put into it, at first without effect.

    Raises ValueError where PEFT is missing.
    """
    if settings.part == "lora":
        try:
            from peft import LoraConfig, inject_adapter_in_model
        except ImportError as error:
            raise ValueError(f"weights.part: lora needs PEFT ({error}): pip install peft.") from error
        unet.requires_grad_(False)
        lora = LoraConfig(r=settings.rank, lora_alpha=settings.alpha, target_modules=PROJECTION)
        inject_adapter_in_model(lora, unet, ADAPTER)
        return
    for name, weight in unet.named_parameters():
        is_part = {
            "all": True,
            "attention": ATTENTION.match(name) is not None,
            "sketch_encoder": name.startswith(SKETCH_ENCODER),
        }
        weight.requires_grad_(is_part[settings.part] and not is_of_figure(unet.config, name))


def is_of_figure(config: Config, name: str) -> bool:
    """Whether only Figure and Background uses the denoiser's weight of that name."""
    return SPLIT_LORA in name or name.startswith(config.version.figure_parts)


def lora_size(unet: nn.Module, rank: int) -> int:
    """How many numbers a LoRA of `unet` has."""
    layers = [module for name, module in unet.named_modules() if re.fullmatch(PROJECTION, name)]
    return sum(rank * sum(layer.weight.shape) for layer in layers)


@torch.no_grad()
def plain_weights(unet: nn.Module) -> dict[str, torch.Tensor]:
    """The weights of `unet` under the names that they have without a LoRA, in which that is counted in."""
    weights = {name.replace(BASE, ""): weight for name, weight in unet.state_dict().items() if ".lora_" not in name}
    for name, module in unet.named_modules():
        if hasattr(module, "get_delta_weight"):
            weights[f"{name}.weight"] = weights[f"{name}.weight"] + module.get_delta_weight(ADAPTER)
    return weights


def lora_weights(unet: nn.Module, alpha: float) -> dict[str, torch.Tensor]:
    """The LoRA in `unet` as the host's loaders read it: `lora_A.weight`, `lora_B.weight` and `alpha` of each layer."""
    found = {}
    for name, weight in unet.state_dict().items():
        if ".lora_" in name:
            found[f"diffusion_model.{name.replace(f'.{ADAPTER}', '')}"] = weight
            found[f"diffusion_model.{name.partition('.lora_')[0]}.alpha"] = torch.tensor(alpha)
    return found

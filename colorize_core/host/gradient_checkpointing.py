"""Gradient checkpointing of the host's UNet: memory for time."""

from functools import partial

from comfy.ldm.modules.attention import SpatialTransformer
from comfy.ldm.modules.diffusionmodules.openaimodel import ResBlock
from torch import nn
from torch.utils.checkpoint import checkpoint

CHECKPOINTED = (ResBlock, SpatialTransformer)


def checkpoint_blocks(unet: nn.Module) -> None:
    """Has each residual block and each transformer forget what it computed, and compute it again for its gradient."""
    for module in unet.modules():
        if isinstance(module, CHECKPOINTED):
            module.forward = partial(checkpoint, module.forward, use_reentrant=False)

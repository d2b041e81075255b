"""XL's background encoder: SDXL's UNet without cross-attention. What its decoder's self-attentions see is a bank, for
those of the denoiser's decoder to attend to.

It runs once per sampling run, at timestep 0. Source: arXiv 2603.05971.
"""

import torch
from comfy.ldm.modules.attention import BasicTransformerBlock, SpatialTransformer
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel, forward_timestep_embed
from comfy.ldm.modules.diffusionmodules.util import timestep_embedding
from torch import nn

from ..networks.embeddings import SINUSOIDS

INPUT_CHANNELS = 6  # of a latent, and of two masks
SEEN = "colorize_seen"  # key of transformer_options within a pass: a list of what self-attentions have seen


class SelfTransformerBlock(BasicTransformerBlock):
    """The host's transformer block without its cross-attention; the host's own would add the self-attention twice."""

    def forward(self, x, context=None, transformer_options={}):  # noqa: B006 (the host's signature)
        n = self.norm1(x)
        transformer_options[SEEN].append(n)
        x = self.attn1(n) + x
        return self.ff(self.norm3(x)) + x


class BankEncoder(UNetModel):
    """A latent with two masks [B,6,h,w] and a size [B,4 SINUSOIDS] to the bank: for each transformer block of the
    denoiser's output blocks, in their order, tokens [B,h' w',width].

    `unet_arguments` are those of the whole denoiser.
    """

    def __init__(self, unet_arguments: dict, dtype=torch.float32, device=None, operations=nn):
        own = {
            "in_channels": INPUT_CHANNELS,
            "num_classes": "sequential",
            "adm_in_channels": 4 * SINUSOIDS,
            "context_dim": 1,  # of cross-attentions that are thrown away
        }
        super().__init__(**unet_arguments | own, dtype=dtype, device=device, operations=operations)
        self.attending = sum(any(isinstance(x, SpatialTransformer) for x in block) for block in self.output_blocks)
        del self.output_blocks[self.attending + 1 :], self.out  # a published file has one more than is run
        for module in self.modules():
            if isinstance(module, BasicTransformerBlock):
                del module.attn2, module.norm2
                module.__class__ = SelfTransformerBlock

    def forward(self, latent: torch.Tensor, size: torch.Tensor) -> list[torch.Tensor]:
        timesteps = torch.zeros(len(latent), device=latent.device)
        emb = self.time_embed(timestep_embedding(timesteps, self.model_channels).to(latent.dtype))
        emb = emb + self.label_emb(size.to(latent.dtype))
        h, skips = latent, []
        for block in self.input_blocks:
            h = forward_timestep_embed(block, h, emb, transformer_options={SEEN: []})
            skips.append(h)
        h = forward_timestep_embed(self.middle_block, h, emb, transformer_options={SEEN: []})
        bank = []
        for block in self.output_blocks[: self.attending]:
            h = torch.cat([h, skips.pop()], dim=1)
            h = forward_timestep_embed(block, h, emb, transformer_options={SEEN: bank}, output_shape=skips[-1].shape)
        return bank

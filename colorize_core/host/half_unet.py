"""The input half of a UNet as an encoder of pictures: v2's style and background encoders.

They run once per sampling run, at timestep 0. Source: arXiv 2504.06895.
"""

import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel, forward_timestep_embed
from comfy.ldm.modules.diffusionmodules.util import timestep_embedding
from torch import nn

from ..networks.embeddings import SINUSOIDS
from ..networks.feature_modules import input_widths, output_widths


class HalfUNet(UNetModel):
    """A latent [B,4,h,w], tokens [B,N,D] and a size embedding [B,2 SINUSOIDS] to the output of each input block.

    `unet_config` is that of the whole denoiser; `zero_layers`, one for each input block, are the subclass'.
    """

    def __init__(self, unet_config: dict, dtype=torch.float32, device=None, operations=nn):
        half = {
            "num_classes": "sequential",
            "adm_in_channels": 2 * SINUSOIDS,
            "transformer_depth_middle": -2,  # no middle block
            "transformer_depth_output": [0] * len(unet_config["transformer_depth_output"]),
        }
        super().__init__(**unet_config | half, dtype=dtype, device=device, operations=operations)
        del self.output_blocks, self.out

    def block_outputs(self, latent: torch.Tensor, tokens: torch.Tensor, size: torch.Tensor) -> list[torch.Tensor]:
        """What each input block gives, first to last."""
        timesteps = torch.zeros(len(latent), device=latent.device)
        emb = self.time_embed(timestep_embedding(timesteps, self.model_channels).to(latent.dtype))
        emb = emb + self.label_emb(size.to(latent.dtype))
        h, outputs = latent, []
        for block in self.input_blocks:
            h = forward_timestep_embed(block, h, emb, tokens)
            outputs.append(h)
        return outputs


class StyleEncoder(HalfUNet):
    """A picture's style: for each output block of the denoiser a vector [B,2 width], deepest first."""

    def __init__(self, unet_config: dict, dtype=torch.float32, device=None, operations=nn):
        super().__init__(unet_config, dtype, device, operations)
        shape = self.model_channels, self.channel_mult, self.num_res_blocks
        widths = zip(input_widths(*shape), reversed(output_widths(*shape)), strict=True)
        self.zero_layers = nn.ModuleList(
            operations.Linear(width, 2 * output, dtype=dtype, device=device) for width, output in widths
        )

    def forward(self, latent: torch.Tensor, tokens: torch.Tensor, size: torch.Tensor) -> list[torch.Tensor]:
        outputs = self.block_outputs(latent, tokens, size)
        styles = [layer(h.mean(dim=(2, 3))) for layer, h in zip(self.zero_layers, outputs, strict=True)]
        return styles[::-1]


class BackgroundEncoder(HalfUNet):
    """A picture's features: for each skip of the denoiser tokens [B,h w,width], deepest first."""

    def __init__(self, unet_config: dict, dtype=torch.float32, device=None, operations=nn):
        super().__init__(unet_config, dtype, device, operations)
        widths = input_widths(self.model_channels, self.channel_mult, self.num_res_blocks)
        self.zero_layers = nn.ModuleList(
            operations.Conv2d(width, width, 1, dtype=dtype, device=device) for width in widths
        )

    def forward(self, latent: torch.Tensor, tokens: torch.Tensor, size: torch.Tensor) -> list[torch.Tensor]:
        outputs = self.block_outputs(latent, tokens, size)
        features = [layer(h).flatten(2).transpose(1, 2) for layer, h in zip(self.zero_layers, outputs, strict=True)]
        return features[::-1]

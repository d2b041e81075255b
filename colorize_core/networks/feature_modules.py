"""What v2 puts between the denoiser's blocks: background features warped into skips, and a style that modulates.

Source: arXiv 2504.06895.
"""

from collections.abc import Sequence

import torch
from torch import nn

from .token_attention import TokenAttention, feed_forward


def input_widths(model_channels: int, channel_mult: Sequence[int], num_res_blocks: Sequence[int]) -> list[int]:
    """Channels of each input block's output, first to last: a convolution, then for each level its residual blocks and,
    but for the last, the strided convolution that ends it."""
    levels = [
        mult * model_channels
        for mult, count in zip(channel_mult, num_res_blocks, strict=True)
        for _ in range(count + 1)
    ]
    return [model_channels, *levels[:-1]]


def output_widths(model_channels: int, channel_mult: Sequence[int], num_res_blocks: Sequence[int]) -> list[int]:
    """Channels of each output block's output, first (deepest) to last."""
    levels = zip(reversed(channel_mult), reversed(num_res_blocks), strict=True)
    return [mult * model_channels for mult, count in levels for _ in range(count + 1)]


class WarpModule(nn.Module):
    """A skip's pixels attend to the features of a background, whose place in the picture is another.

    `operations` supplies the layer classes (torch.nn, or a host's drop-in for it).
    """

    def __init__(self, width: int, dtype=None, device=None, operations=nn):
        super().__init__()
        factory = {"dtype": dtype, "device": device, "operations": operations}
        self.attn = TokenAttention(width, **factory)
        self.ff = feed_forward(width, **factory)
        self.norm1 = operations.LayerNorm(width, dtype=dtype, device=device)
        self.norm2 = operations.LayerNorm(width, dtype=dtype, device=device)

    def forward(self, skip: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """A skip [B,width,h,w] and background features [B,M,width] to the skip with the background in it."""
        x = skip.flatten(2).transpose(1, 2)
        x = self.attn(self.norm1(x), features) + x
        x = self.ff(self.norm2(x)) + x
        return x.transpose(1, 2).unflatten(2, skip.shape[2:])


class StyleModule(nn.ModuleList):
    """A style vector and the time embedding become a scale and a shift for each channel of a block's output.

    Its layers in the order of a published file: LayerNorm, the time embedding's Linear, the Linear that modulates.
    """

    def __init__(self, width: int, time_width: int, dtype=None, device=None, operations=nn):
        factory = {"dtype": dtype, "device": device}
        super().__init__(
            [
                operations.LayerNorm(2 * width, **factory),
                operations.Linear(time_width, 2 * width, **factory),
                operations.Linear(2 * width, 2 * width, **factory),
            ]
        )
        self.style_width = 2 * width

    def forward(self, h: torch.Tensor, time_embedding: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        """A block's output [B,width,h,w], the time embedding [B,time_width] and a style [B,2 width] to the output
        modulated."""
        norm, time_projection, modulation = self
        scale, shift = modulation(norm(style + time_projection(time_embedding))).chunk(2, dim=1)
        return h * (1 + scale[..., None, None]) + shift[..., None, None]

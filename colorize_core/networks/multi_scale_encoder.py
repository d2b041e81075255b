"""XL's sketch encoder: four maps of a picture of lines, that attend to one another from coarse to fine.

It sees no timestep, so a sketch is encoded once and its hints serve every step. Source: arXiv 2603.05971.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from .sketch_encoder import pixel_stem

ROTARY_BASE = 10000.0


class MultiScaleSketchEncoder(nn.Module):
    """A sketch [B,3,H,W] in -1..1, white lines on black, to four hints.

    Each has the channels of the denoiser's input block that it is added to (`versions.xl` says which) and the latent's
    size divided by 1, 2, 4 or 4; strided convolutions round sizes up as the denoiser's own do.
    `head_width` is the width of an attention head, which shapes do not tell; the published files have 128.
    `operations` supplies the layer classes (torch.nn, or a host's drop-in for it).
    """

    def __init__(
        self,
        model_channels: int = 320,
        channel_mult: Sequence[int] = (1, 2, 4),
        head_width: int = 128,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        operations=nn,
    ):
        super().__init__()
        factory = {"dtype": dtype, "device": device}

        def conv(inputs, outputs, stride=1, size=3):
            return operations.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, **factory)

        first, second, third = (model_channels * mult for mult in channel_mult)
        widths = (first, first, second, third)
        self.model = pixel_stem(model_channels, conv)
        self.downsample_layers = nn.ModuleList(
            nn.Sequential(nn.SiLU(), conv(inputs, outputs, stride))
            for inputs, outputs, stride in zip(widths, widths[1:], (2, 2, 1), strict=False)
        )
        self.proj_ins = nn.ModuleList(conv(width, third, size=1) for width in (*widths, third))  # the last: the mean's
        self.attn_layer = ScaleCausalAttention(third, head_width, factory, operations)
        self.proj_outs = nn.ModuleList(conv(third, width, size=1) for width in widths)

    def forward(self, sketch: torch.Tensor) -> list[torch.Tensor]:
        """[B,3,H,W] to four hints [B,C_k,ceil(H/d),ceil(W/d)], d being 8, 16, 32 and 32."""
        maps = [self.model(sketch)]
        for layer in self.downsample_layers:
            maps.append(layer(maps[-1]))
        mean = maps[-1].mean(dim=(2, 3), keepdim=True)
        *projected, mean = [proj(x) for proj, x in zip(self.proj_ins, (*maps, mean), strict=True)]
        attended = self.attn_layer(mean, projected[::-1])[::-1]
        return [proj(x) for proj, x in zip(self.proj_outs, attended, strict=True)]


class ScaleCausalAttention(nn.Module):
    """Self-attention over the places of all maps, the coarsest first: each sees its own map whole, and coarser ones."""

    def __init__(self, width: int, head_width: int, factory: dict, operations=nn):
        super().__init__()
        self.head_width = head_width
        self.to_q, self.to_k, self.to_v = (operations.Linear(width, width, bias=False, **factory) for _ in range(3))
        self.q_norm, self.k_norm = (operations.RMSNorm(width, eps=1e-6, **factory) for _ in range(2))
        self.to_out = nn.Sequential(operations.Linear(width, width, **factory))

    def forward(self, mean: torch.Tensor, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        """`mean` [B,A,1,1] of the picture and maps [B,A,h,w], coarsest first, to new maps; all see the mean."""
        sequence = torch.cat([x.flatten(2) for x in (mean, *maps)], dim=2).mT  # [B,N,A]
        angles = [rotary_angles(*x.shape[2:], self.head_width, x.device) for x in maps]
        unturned = torch.zeros_like(angles[0][:1])  # the mean is nowhere
        angles = torch.cat([unturned, *angles])
        query = rotate(self._heads(self.q_norm(self.to_q(sequence))), angles)
        key = rotate(self._heads(self.k_norm(self.to_k(sequence))), angles)
        value = self._heads(self.to_v(sequence))

        out, start = [], 1
        for x in maps:  # a map's queries against a prefix of the sequence: no mask, and no work for what it hides
            end = start + x[0, 0].numel()
            attended = F.scaled_dot_product_attention(query[:, :, start:end], key[:, :, :end], value[:, :, :end])
            tokens = sequence[:, start:end] + self.to_out(attended.transpose(1, 2).flatten(2))
            out.append(tokens.mT.reshape(x.shape))
            start = end
        return out

    def _heads(self, tokens: torch.Tensor) -> torch.Tensor:
        """[B,N,A] to [B,heads,N,head_width]."""
        return tokens.unflatten(2, (-1, self.head_width)).transpose(1, 2)


def rotary_angles(height: int, width: int, channels: int, device: torch.device) -> torch.Tensor:
    """[height*width, channels/2] angles: the first half of a head's pairs turns by the row, the other by the column.

    Source: arXiv 2104.09864, for two axes.
    """
    pairs = channels // 4
    frequencies = ROTARY_BASE ** -(torch.arange(pairs, device=device) / pairs)
    rows, columns = (torch.arange(side, device=device)[:, None] * frequencies for side in (height, width))
    grid = torch.stack([rows[:, None].expand(-1, width, -1), columns[None].expand(height, -1, -1)], dim=2)
    return grid.flatten(0, 1).flatten(1)


def rotate(heads: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """`heads` [B,heads,N,C] with each pair of neighboring channels turned by `angles` [N,C/2]."""
    even, odd = heads.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1).flatten(-2).to(heads.dtype)

"""The sketch encoder: a picture of lines becomes five hints that the denoiser adds to its input blocks.

It sees no timestep, so a sketch is encoded once and its hints serve every step. Source: arXiv 2401.01456.
"""

from collections.abc import Callable, Sequence

import torch
from torch import nn

STEM = [(3, 16, 1), (16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 96, 2), (96, 96, 1), (96, 256, 2)]


def pixel_stem(model_channels: int, conv: Callable[..., nn.Module]) -> nn.Sequential:
    """From a sketch [B,3,H,W] to features [B,model_channels,ceil(H/8),ceil(W/8)]: what all encoders begin with.

    `conv(inputs, outputs, stride)` makes a padded 3x3 convolution.
    """
    layers = []
    for inputs, outputs, stride in STEM:
        layers += [conv(inputs, outputs, stride), nn.SiLU()]
    return nn.Sequential(*layers, conv(STEM[-1][1], model_channels, 1))


class SketchEncoder(nn.Module):
    """A sketch [B,3,H,W] in -1..1, white lines on black, to five hints.

    Hint k has the channels of the denoiser's input block that it is added to, and its size (`versions.v1`); strided
    convolutions round sizes up as the denoiser's own do.
    `operations` supplies the layer classes (torch.nn, or a host's drop-in for it).
    """

    def __init__(
        self,
        model_channels: int = 320,
        channel_mult: Sequence[int] = (1, 2, 4, 4),
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        operations=nn,
    ):
        super().__init__()

        def conv(inputs, outputs, stride=1, size=3):
            padding = size // 2
            return operations.Conv2d(inputs, outputs, size, stride=stride, padding=padding, dtype=dtype, device=device)

        self.model = pixel_stem(model_channels, conv)
        self.zero_layer = nn.Sequential(conv(model_channels, model_channels, size=1))

        widths = [model_channels * mult for mult in channel_mult]
        strides = [2] * (len(widths) - 1) + [1]
        self.output_blocks = nn.ModuleList(
            nn.Sequential(nn.SiLU(), conv(inputs, outputs, stride), nn.SiLU(), conv(outputs, outputs))
            for inputs, outputs, stride in zip([model_channels, *widths], widths, strides, strict=False)
        )
        self.zero_blocks = nn.ModuleList(nn.Sequential(conv(width, width, size=1)) for width in widths)

    def forward(self, sketch: torch.Tensor) -> list[torch.Tensor]:
        """[B,3,H,W] to five hints [B,C_k,ceil(H/d_k),ceil(W/d_k)], d_k being 8, 16, 32, 64, 64."""
        features = self.model(sketch)
        hints = [self.zero_layer(features)]
        for block, zero_block in zip(self.output_blocks, self.zero_blocks, strict=True):
            features = block(features)
            hints.append(zero_block(features))
        return hints

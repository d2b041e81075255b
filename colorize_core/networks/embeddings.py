"""Numbers as vectors: the thresholds of v1.5's masks and the sizes of v2's and XL's pictures.

Source: arXiv 2502.19937 (thresholds), arXiv 2504.06895 and 2603.05971 (sizes); sinusoids as in "Attention Is All You
Need", 3.5.
"""

import math

import torch
from torch import nn

SINUSOIDS = 256  # width of a number's sinusoidal embedding
LONGEST_PERIOD = 10000
AESTHETIC_SCORE = 7.0  # XL's every picture counts as one of this score


def sinusoidal(numbers: torch.Tensor, width: int = SINUSOIDS) -> torch.Tensor:
    """`numbers` [...] as [...,width] float32: cosines first, then sines, of frequencies from 1 to 1/LONGEST_PERIOD."""
    half = width // 2
    frequencies = LONGEST_PERIOD ** -(torch.arange(half, dtype=torch.float32, device=numbers.device) / half)
    angles = numbers.float().unsqueeze(-1) * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def size_embedding(picture: tuple[int, int], canvas: tuple[int, int]) -> torch.Tensor:
    """The size (height, width) of a picture before it was stretched to the canvas, in pixels, as [1,2 SINUSOIDS].

    Embedded is its ratio to the canvas, each way. A picture smaller than the canvas either way counts as an enlarged
    one of its aspect ratio: higher by the canvas' longer side.
    """
    height, width = picture
    if height < canvas[0] or width < canvas[1]:
        enlarged = height + max(canvas)
        height, width = enlarged, width / height * enlarged
    return sinusoidal(torch.tensor([[height / canvas[0], width / canvas[1]]])).flatten(1)


def canvas_embedding(height: int, width: int) -> torch.Tensor:
    """What XL's denoiser is told of a picture of height x width pixels: root of its area, and a score: [1,2 SINUSOIDS].

    As SDXL's micro-conditioning, arXiv 2307.01952, 2.2.
    """
    return sinusoidal(torch.tensor([[math.sqrt(height * width), AESTHETIC_SCORE]])).flatten(1)


def background_embedding(picture: tuple[int, int], canvas: tuple[int, int]) -> torch.Tensor:
    """What XL's background encoder is told of a picture that is stretched to the canvas, of sizes (height, width).

    Embedded as [1,4 SINUSOIDS] is the part that has the canvas' aspect, in shares of the picture: 0, 0, height, width.
    """
    relative = (picture[1] / picture[0]) / (canvas[1] / canvas[0])
    return sinusoidal(torch.tensor([[0.0, 0.0, min(1.0, relative), min(1.0, 1 / relative)]])).flatten(1)


class ThresholdEmbedder(nn.Module):
    """A mask's threshold, 0..1, as a vector that is added to each token. `operations` supplies the layer classes."""

    def __init__(self, token_width: int, dtype=None, device=None, operations=nn):
        super().__init__()
        self.embed_layer = nn.Sequential(
            operations.Linear(SINUSOIDS, token_width, dtype=dtype, device=device),
            nn.SiLU(),
            operations.Linear(token_width, token_width, dtype=dtype, device=device),
        )

    def forward(self, threshold: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """[B] to [B,1,token_width], computed in `dtype`."""
        return self.embed_layer(sinusoidal(threshold).to(dtype)).unsqueeze(1)

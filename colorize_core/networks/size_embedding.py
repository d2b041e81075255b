"""Numbers as waves, and the sizes that XL is told as such. Source: arXiv 1706.03762, 2307.01952 (SDXL)."""

import math

import torch

LONGEST_PERIOD = 10000.0
AESTHETIC_SCORE = 7.0  # what XL is told of every picture that it makes
WAVES = 256  # channels of one number


def sinusoids(numbers: torch.Tensor, channels: int = WAVES) -> torch.Tensor:
    """`numbers` [..., K] as [..., K*channels], each number's cosines before its sines, periods 2 pi to 2 pi 10000."""
    half = channels // 2
    frequencies = torch.exp(-math.log(LONGEST_PERIOD) * torch.arange(half, device=numbers.device) / half)
    angles = numbers.float()[..., None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1).flatten(-2)


def canvas_embedding(height: int, width: int) -> torch.Tensor:
    """[1,512]: XL's size conditioning for a picture of height x width pixels."""
    return sinusoids(torch.tensor([[math.sqrt(height * width), AESTHETIC_SCORE]]))


def background_embedding(canvas: tuple[int, int], picture: tuple[int, int]) -> torch.Tensor:
    """[1,1024]: what the background encoder is told, of sizes (height, width) in any one unit.

    That is (0, 0, h, w), the part of the background picture, as a share of its sides, that has the canvas' aspect.
    """
    aspect, picture_aspect = canvas[1] / canvas[0], picture[1] / picture[0]
    height, width = min(1.0, picture_aspect / aspect), min(1.0, aspect / picture_aspect)
    return sinusoids(torch.tensor([[0.0, 0.0, height, width]]))

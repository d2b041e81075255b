"""Where in the reference a text is: the correlations of its tokens as a colored map over the picture.

The correlation of a token v with a text t is v . t, on the grid of the reference's tokens (16x16 for a ViT-H). Source:
arXiv 2401.01456 (text-based manipulation), whose thresholds part the map into the same five steps.
"""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont

from .manipulation import LocalEdit, token_grid

# Viridis at 0, 1/4, 1/2, 3/4 and 1: readable for color-blind people and in gray.
COLORS = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
OPACITY = 0.7
PIXELS_PER_TOKEN = 16  # in the pictures of an edit
LINE = 0.5  # how much a grid line darkens what is under it


def correlation_map(correlations: torch.Tensor, grid: tuple[int, int], size: tuple[int, int]) -> torch.Tensor:
    """`correlations` [B,N] of the tokens of a `grid` (rows, columns) as maps [B,H,W] in 0..1 of the picture's `size`.

    Bicubic, then min-max normalized for each picture; 0 where all correlations are equal.
    """
    maps = F.interpolate(correlations.unflatten(1, grid)[:, None], size=size, mode="bicubic")[:, 0]
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    return torch.where(high > low, (maps - low) / (high - low), 0.0)


def steps(maps: torch.Tensor, thresholds: torch.Tensor) -> torch.Tensor:
    """`maps` [B,H,W] as how many of the `thresholds` [4] each value passes, a quarter for each: 0, 1/4 .. 1."""
    return (maps[..., None] > thresholds).float().mean(dim=-1)


def viridis(values: torch.Tensor) -> torch.Tensor:
    """`values` [B,H,W] in 0..1 as colors [B,H,W,3] in 0..1, from dark violet over green to yellow."""
    colors = torch.tensor(COLORS, device=values.device) / 255
    place = values.clamp(0, 1) * (len(COLORS) - 1)
    below = place.long().clamp(max=len(COLORS) - 2)
    return torch.lerp(colors[below], colors[below + 1], (place - below)[..., None])


def weight_map(weights: torch.Tensor, grid: tuple[int, int], pixels: int) -> torch.Tensor:
    """`weights` [B,N] in -2..1 (see `manipulation.position_weights`) as colors [B,H,W,3], `pixels` to a token.

    The five colors stand for -2, -1, 0, 1/2 and 1.
    """
    place = torch.where(weights < 0, (weights + 2) / 4, (weights + 1) / 2).unflatten(1, grid)
    return viridis(place).repeat_interleave(pixels, dim=1).repeat_interleave(pixels, dim=2)


def weight_mask(weights: torch.Tensor, grid: tuple[int, int], pixels: int) -> torch.Tensor:
    """`weights` [B,N], clamped to 0..1, as a smooth mask [B,H,W], `pixels` to a token."""
    mask = weights.clamp(0, 1).unflatten(1, grid)[:, None]
    return F.interpolate(mask, scale_factor=pixels, mode="bilinear")[:, 0]


def edit_mask(edit: LocalEdit) -> torch.Tensor:
    """How much a local edit moved each part of the reference, 0..1, as a mask [B,H,W]."""
    return weight_mask(edit.weights, token_grid(edit.weights.shape[1]), PIXELS_PER_TOKEN)


def edit_preview(edit: LocalEdit) -> torch.Tensor:
    """The same in colors [B,H,W,3], with the legend of the edit's thresholds below where it has any."""
    colors = weight_map(edit.weights, token_grid(edit.weights.shape[1]), PIXELS_PER_TOKEN)
    return colors if edit.thresholds is None else with_legend(colors, edit.thresholds)


def with_legend(pictures: torch.Tensor, thresholds: torch.Tensor) -> torch.Tensor:
    """`pictures` [B,H,W,3] with the legend of each one's `thresholds` [B,4] below."""
    strips = [legend(row, pictures.shape[2]) for row in thresholds.tolist()]
    return torch.cat([pictures, torch.stack(strips).to(pictures)], dim=1)


def overlay(image: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """The colors of `values` [B,H,W] in 0..1 over the pictures `image` [B,H,W,C] in 0..1: [B,H,W,3]."""
    return torch.lerp(image[..., :3], viridis(values), OPACITY)


def draw_grid(image: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """`image` [B,H,W,3] with dark lines between the tokens of a `grid` (rows, columns)."""
    shade = torch.ones(image.shape[1:3], device=image.device)
    rows, columns = grid
    shade[[row * shade.shape[0] // rows for row in range(1, rows)]] = LINE
    shade[:, [column * shade.shape[1] // columns for column in range(1, columns)]] = LINE
    return image * shade[..., None]


def legend(thresholds: list[float], width: int) -> torch.Tensor:
    """A strip [h,width,3] in 0..1 of the five colors with the four thresholds from which the upper ones begin."""
    labels = [f"to {thresholds[0]:.2f}"] + [f"{threshold:.2f}" for threshold in thresholds]
    font_size = min(max(width // 20, 9), 28)
    font = ImageFont.load_default(font_size)
    height = font_size * 3 // 2
    strip = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(strip)
    for place, (label, color) in enumerate(zip(labels, COLORS, strict=True)):
        left, right = place * width // len(COLORS), (place + 1) * width // len(COLORS)
        draw.rectangle((left, 0, right, height), fill=color)
        ink = "black" if sum(color) > 3 * 127 else "white"
        draw.text(((left + right) / 2, height / 2), label, fill=ink, font=font, anchor="mm")
    return torch.from_numpy(np.asarray(strip) / np.float32(255))

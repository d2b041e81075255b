"""Deformation of references, so that what is learned is which colors they have and not where (arXiv 2401.01456).

Trained on pictures as their own references, a colorizer would copy colors from the same place.
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import nn


@dataclass(frozen=True)
class Deformation:
    """What is done to a reference, in this order. Raises ValueError for a value out of range.

    `warp`: how far a control point of the thin-plate spline moves at most, as a share of the picture's sides;
    `control_points` per side. `flip`: probability of a mirror image. `rotation`: at most, in degrees either way.
    `crop`: the smallest share of the sides that is kept. `shuffle`: probability that the patches, `patches` per side,
    are permuted.
    """

    warp: float = 0.1
    control_points: int = 4
    flip: float = 0.5
    rotation: float = 20.0
    crop: float = 0.8
    shuffle: float = 0.0
    patches: int = 4

    def __post_init__(self):
        for name in ("flip", "shuffle"):
            chance = getattr(self, name)
            if not 0 <= chance <= 1:
                raise ValueError(f"{name}: {chance} is not a probability. Set it between 0 and 1.")
        if not 0 <= self.warp <= 0.5:
            raise ValueError(f"warp: {self.warp} is not a share of the picture. Set it between 0 (off) and 0.5.")
        if not 0 <= self.rotation <= 180:
            raise ValueError(f"rotation: {self.rotation} is out of range. Set it between 0 (off) and 180 degrees.")
        if not 0 < self.crop <= 1:
            raise ValueError(f"crop: {self.crop} is not a share of the picture. Set it above 0, up to 1 (all of it).")
        if self.control_points < 2:
            raise ValueError(f"control_points: {self.control_points} per side are too few. Set it to 2 or more.")
        if self.patches < 1:
            raise ValueError(f"patches: {self.patches} per side are too few. Set it to 1 or more.")


def deform(
    reference: torch.Tensor, deformation: Deformation, generator: torch.Generator, aspect: float | None = None
) -> torch.Tensor:
    """`reference` [B,3,H,W] in [-1,1], each row deformed on its own; same shape and range.

    `aspect` is the width over the height of what a squashed picture shows, by default that of its pixels.
    `generator` (on the CPU) decides everything: the same seed gives the same result.
    Raises ValueError when a picture to be shuffled has fewer pixels than `patches` on a side.
    """
    warped = thin_plate_spline(reference, deformation.warp, deformation.control_points, generator)
    moved = flip_rotate_crop(warped, deformation.flip, deformation.rotation, deformation.crop, generator, aspect)
    if not deformation.shuffle:
        return moved
    shuffled = _uniform(generator, len(reference)).to(moved.device) < deformation.shuffle
    return torch.where(shuffled[:, None, None, None], shuffle_patches(moved, deformation.patches, generator), moved)


def thin_plate_spline(
    picture: torch.Tensor, strength: float, control_points: int, generator: torch.Generator
) -> torch.Tensor:
    """`picture` [B,C,H,W] warped by a random spline: each point of an even grid, `control_points` per side, moves by up
    to `strength` of the sides."""
    displacement = (2 * _uniform(generator, len(picture), control_points, control_points, 2) - 1) * 2 * strength
    return warp(picture, displacement.to(picture.device))


def warp(picture: torch.Tensor, displacement: torch.Tensor) -> torch.Tensor:
    """`picture` [B,C,H,W] bent as a thin plate: at control point c shows what was at c + displacement.

    `displacement` [B,n,n,2] is (x, y), in half sides, for an even n x n grid from edge to edge.
    """
    height, width = picture.shape[-2:]
    n = displacement.shape[1]
    edges = torch.linspace(-1, 1, n, dtype=torch.float64, device=picture.device)
    control = _lattice(edges, edges).flatten(0, 1)
    # The spline that bends least: sum_i w_i U(|p - c_i|) + a + A p, with sum w = 0 and sum w c = 0.
    basis = _spline_basis(edges, edges, control).flatten(0, 1)
    zeros = basis.new_zeros(3, 3)
    system = torch.cat([basis, torch.cat([basis[:, -3:].mT, zeros], 1)])
    values = torch.cat([displacement.flatten(1, 2).double(), zeros[:, :2].expand(len(picture), 3, 2)], 1)
    weights = torch.linalg.solve(system, values).to(picture.dtype)

    x, y = _pixel_centers(width, picture), _pixel_centers(height, picture)
    basis = _spline_basis(x, y, control.to(picture.dtype))
    return _sample(picture, _lattice(x, y) + torch.einsum("hwk,bkc->bhwc", basis, weights))


def flip_rotate_crop(
    picture: torch.Tensor,
    flip: float,
    rotation: float,
    crop: float,
    generator: torch.Generator,
    aspect: float | None = None,
) -> torch.Tensor:
    """`picture` [B,C,H,W] mirrored with probability `flip`, turned by up to `rotation` degrees either way, and cut to
    between `crop` and all of its sides, at a random place; resized to H x W. Corners show the picture reflected.

    `aspect` is the width over the height of what a squashed picture shows: a turn must not shear it."""
    height, width = picture.shape[-2:]
    aspect = aspect or width / height
    flipped, angle, part, x, y = _uniform(generator, 5, len(picture))
    mirror = torch.where(flipped < flip, -1.0, 1.0)
    angle = torch.deg2rad((2 * angle - 1) * rotation)
    part = crop + part * (1 - crop)
    cos, sin = part * angle.cos(), part * angle.sin()
    # Rows give the place in the picture (in half sides) of a place in the result.
    linear = torch.stack(
        [
            torch.stack([mirror * cos, -mirror * sin / aspect], -1),
            torch.stack([sin * aspect, cos], -1),
        ],
        1,
    )
    center = (2 * torch.stack([x, y], -1) - 1) * (1 - part)[:, None]
    pixels = _lattice(_pixel_centers(width, picture), _pixel_centers(height, picture))
    points = pixels.flatten(0, 1) @ linear.to(picture).mT
    return _sample(picture, (points + center.to(picture)[:, None]).unflatten(1, (height, width)))


def shuffle_patches(picture: torch.Tensor, patches: int, generator: torch.Generator) -> torch.Tensor:
    """`picture` [B,C,H,W] with its `patches` x `patches` equal patches permuted, each row in its own order.

    Pixels that are left over at the right and bottom edges, where a side is not divisible, stay where they are.
    Raises ValueError when there are fewer pixels than patches on a side.
    """
    height, width = (side // patches for side in picture.shape[-2:])
    if not height or not width:
        raise ValueError(
            f"reference: {picture.shape[-1]}x{picture.shape[-2]} pixels cannot be cut into {patches} patches per side. "
            "Set fewer patches, or use a larger picture."
        )
    whole = picture[..., : height * patches, : width * patches]
    cut = rearrange(whole, "b c (i h) (j w) -> b (i j) c h w", i=patches, j=patches)
    order = torch.stack([torch.randperm(patches * patches, generator=generator) for _ in picture]).to(picture.device)
    mixed = cut[torch.arange(len(picture), device=picture.device)[:, None], order]
    result = picture.clone()
    result[..., : height * patches, : width * patches] = rearrange(
        mixed, "b (i j) c h w -> b c (i h) (j w)", i=patches, j=patches
    )
    return result


def _uniform(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=generator)


def _spline_basis(x: torch.Tensor, y: torch.Tensor, control: torch.Tensor) -> torch.Tensor:
    """What a thin-plate spline sums at the places `x` [W] by `y` [H]: U(r) = r^2 log r^2 of the distance to each of
    `control` [K,2], then 1, x and y, [H,W,K+3]."""
    to_x, to_y = ((side[:, None] - points).square() for side, points in zip((x, y), control.T, strict=True))
    squared = to_y[:, None] + to_x
    lattice = _lattice(x, y)
    return torch.cat([torch.xlogy(squared, squared), torch.ones_like(lattice[..., :1]), lattice], -1)


def _lattice(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """(x, y) at every place of `x` [W] by `y` [H], [H,W,2]."""
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


def _pixel_centers(side: int, like: torch.Tensor) -> torch.Tensor:
    """Where the pixels of a side lie, in half sides from its middle, [side]."""
    return (torch.arange(side).to(like) * 2 + 1) / side - 1


def _sample(picture: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    return nn.functional.grid_sample(picture, points, padding_mode="reflection", align_corners=False)

"""Hostile values for every kind of input, drawn from a seeded generator."""

import random
from dataclasses import fields, is_dataclass, replace

import torch

NUMBERS = [float("nan"), float("inf"), -float("inf"), 1e38, -1e38, 1e-45, -0.0, -1, 0, 2**63, 10**400, 0.5, 1, 3]
TEXTS = ["", " \n\t", "nan", "red hair", "x" * 5000, "1 " * 16, "1e999 " * 16, "nan " * 16, "1,2", "\x00", "\ud800"]
TEXTS += [
    "(((:1.5)))",
    "embedding:none",
    "#12",
    "#ffffff,#zzz",
    "../../etc",
    "\u202e\U0001f3a8",
    "everything",
    "%s{}\\",
]
LITERALS = ["a text", 3, 1.5, True, None, {}, {"samples": None}, [], ["1", 0, 2], [[1, 2]], torch.zeros(3)]
DTYPES = [torch.bool, torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float64, torch.complex64]
DTYPES += [torch.float8_e4m3fn, torch.int8]


def number(draw: random.Random, slot) -> object:
    """A number at, around and far beyond the edges of the input `slot`, or none at all."""
    low, high = getattr(slot, "min", None), getattr(slot, "max", None)
    edges = [edge for edge in (low, high) if edge is not None]
    near = [edge + step for edge in edges for step in (-1, -0.01, 0, 0.01, 1)]
    return draw.choice([*NUMBERS, *near, *near, "7", None, True, [1.0], torch.tensor(float("nan"))])


def text(draw: random.Random) -> object:
    if draw.random() < 0.1:
        return draw.choice(LITERALS)
    return draw.choice(TEXTS)


def choice(draw: random.Random, options: list) -> object:
    return draw.choice([*options, *options, "none of these", "", None, 3, f"{options[0]} " if options else "x"])


def tensor(draw: random.Random, valid: torch.Tensor) -> torch.Tensor:
    """`valid` with one thing about it changed: values, type, shape or memory layout."""
    return draw.choice(TENSOR_CHANGES)(draw, valid.clone())


def _one_value(draw, x):
    flat = x.flatten()
    flat[draw.randrange(len(flat))] = draw.choice([float("nan"), float("inf"), -float("inf"), 1e38, -1e38, 1e30, 300.0])
    return flat.view_as(x)


def _all_values(draw, x):
    return torch.full_like(x, draw.choice([float("nan"), float("inf"), 1e38, -1e38, 0.0, 1.0, 0.5, -1.0, 3.0, 255.0]))


def _scaled(draw, x):
    return x * draw.choice([255.0, -1.0, 1e-40, 3.0, 1e10, 1e38])


def _other_type(draw, x):
    return x.to(draw.choice(DTYPES))


def _empty_axis(draw, x):
    return x.narrow(draw.randrange(x.ndim), 0, 0)


def _other_rank(draw, x):
    return draw.choice([x[None], x[..., None], x[0], x[0, 0], x.flatten(), x.flatten()[0], x[None, None, None]])


def _other_size(draw, x):
    axis = draw.randrange(x.ndim)
    size = draw.choice([1, 2, 3, 4, 5, 7, 65])
    return x.narrow(axis, 0, 1).repeat_interleave(size, dim=axis)


def _other_layout(draw, x):
    return draw.choice([x.flip(-1), x.transpose(0, -1).contiguous().transpose(0, -1), x[:1].expand(3, *x.shape[1:])])


def _extreme_size(draw, x):
    return (
        x[:1, :1, :1].expand(1, *draw.choice([(1, 1), (1, 911), (700, 1)]), *x.shape[3:]).clone() if x.ndim > 2 else x
    )


TENSOR_CHANGES = [_one_value, _all_values, _scaled, _other_type, _empty_axis, _other_rank, _other_size, _other_layout]
TENSOR_CHANGES += [_extreme_size]


def nested(draw: random.Random, valid):
    """A dataclass, dict or list with one of its parts made hostile, lost, or of another kind."""
    if isinstance(valid, torch.Tensor):
        return tensor(draw, valid)
    if is_dataclass(valid):
        name = draw.choice([field.name for field in fields(valid)])
        return replace(valid, **{name: nested(draw, getattr(valid, name))})
    if isinstance(valid, dict):
        key = draw.choice(list(valid))
        if draw.random() < 0.15:
            return {other: value for other, value in valid.items() if other != key}
        return valid | {key: nested(draw, valid[key])}
    if isinstance(valid, list):
        index = draw.randrange(len(valid))
        if draw.random() < 0.15:
            return draw.choice([[], valid[:index], [*valid, *valid], [[]]])
        return [*valid[:index], nested(draw, valid[index]), *valid[index + 1 :]]
    if isinstance(valid, bool | int | float):
        return draw.choice(NUMBERS)
    return valid

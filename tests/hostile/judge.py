"""Did it end well? A finite result of the right shape, or one sentence: what is meant, what is wrong, what to do."""

import re
import traceback
from collections.abc import Iterable
from pathlib import Path

import torch

SENTENCE_TYPES = (ValueError, MemoryError, AttributeError, ImportError, FileNotFoundError)
CURES = (
    "add choose close compare connect crop decode delete download encode enter export free get give install leave load "
    "look lower make move prepare queue raise reduce remove rename restart save scale set shorten start swap take try "
    "turn update upscale use wait wire write"
)
CURE = re.compile(rf"\b({'|'.join(CURES.split())})\b", re.IGNORECASE)
PYTHONS_OWN = re.compile(
    r"object has no attribute|object is not|unsupported operand|must be real number|expected scalar type|"
    r"mat1 and mat2|tensor a \(|index out of range|out of bounds|takes \d+ positional|NoneType|indices must be|"
    r"not implemented for|can't convert|cannot be interpreted|Expected .*(Tensor|dim)|Traceback"
)


def why_bad_error(error: BaseException, names: Iterable[str]) -> str | None:
    """What the text of `error` lacks as a sentence for a user; None if nothing. `names`: of inputs and files."""
    text = str(error).strip()
    if not isinstance(error, SENTENCE_TYPES):
        frames = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
        return f"{type(error).__name__} is no sentence: {text[:300]} ({' '.join(frames[-6:])})"
    if PYTHONS_OWN.search(text):
        return f"it is Python's own: {text[:300]}"
    if not any(name and name in text for name in names):
        return f"it names no input and no file: {text[:300]}"
    if not CURE.search(text):
        return f"it does not say what to do: {text[:300]}"
    if "\n" in text or len(text) > 700:
        return f"it is no sentence: {text[:300]}"
    return None


def why_bad_result(kind: str, value, path: str = "") -> str | None:
    """What is wrong with an output of the socket type `kind`; None if nothing."""
    if kind == "IMAGE":
        return _wrong_tensor(value, kind, lambda shape: len(shape) == 4 and shape[-1] in (1, 3, 4), -100, 100)
    if kind == "MASK":
        return _wrong_tensor(value, kind, lambda shape: len(shape) == 3, 0, 1)
    if kind == "LATENT":
        return _wrong_tensor(value["samples"], kind, lambda shape: len(shape) == 4, -1e4, 1e4)
    for name, tensor in tensors(value):
        if problem := _wrong_tensor(tensor, f"{kind} {name}", lambda shape: 0 not in shape, -1e5, 1e5):
            return problem
    return f"{kind} is None" if value is None else None


def _wrong_tensor(value, name: str, fits, low: float, high: float) -> str | None:
    if not isinstance(value, torch.Tensor):
        return f"{name} is a {type(value).__name__}"
    if not fits(value.shape) or 0 in value.shape:
        return f"{name} has the shape {list(value.shape)}"
    if not value.isfinite().all():
        return f"{name} is not finite"
    if value.min() < low - 1e-3 or value.max() > high + 1e-3:
        return f"{name} goes from {value.min():.3g} to {value.max():.3g}"
    return None


def tensors(value, name: str = ""):
    """(name, tensor) of all tensors in lists, dicts and dataclasses."""
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from tensors(entry, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for index, entry in enumerate(value):
            yield from tensors(entry, f"{name}[{index}]")
    elif hasattr(value, "__dataclass_fields__"):
        for field in value.__dataclass_fields__:
            yield from tensors(getattr(value, field), f"{name}.{field}")

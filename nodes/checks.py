"""What all nodes of the pack share: inputs are checked before they are used, and running out of memory has words.

The host checks the ranges of typed-in numbers alone: not of connected ones, nor NaN; and a text typed into a socket
by a script reaches the node as it is.
"""

import functools
import inspect
import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from numbers import Integral, Real

import torch
from comfy_api.latest import io

from ..colorize_core.finite import LARGEST, is_finite
from ..colorize_core.host.clip import MissingTower
from ..colorize_core.host.tagger import Tagger
from ..colorize_core.images import FLOATS, check, checked_mask
from ..colorize_core.layers.palette import Palette
from ..colorize_core.memory import is_out_of_memory
from ..colorize_core.sketch import Sketch
from ..colorize_core.tokens import ReferenceTokens

PLAIN = (str, int, float, bool, list, tuple, dict, torch.Tensor, type(None))
PLAIN_SOCKETS = {"IMAGE": torch.Tensor, "MASK": torch.Tensor, "LATENT": dict, "CONDITIONING": list}
SOCKETS = PLAIN_SOCKETS | {"COLORIZE_TOKENS": ReferenceTokens, "COLORIZE_SKETCH": Sketch, "COLORIZE_PALETTE": Palette}
SOCKETS |= {"COLORIZE_TAGGER": Tagger}
MARKS = {"MODEL": "model_options", "VAE": "encode", "CLIP": "tokenize", "CLIP_VISION": "model_type"}
KINDS = {"INT": (Integral, "a whole number"), "FLOAT": (Real, "a number")}
KINDS |= {"BOOLEAN": (bool, "true or false"), "STRING": (str, "a text")}
OWN = "COLORIZE_"  # what the pack's own socket types begin with
CURES = defaultdict(lambda: "Make it anew from a picture without such values")
CURES["COLORIZE_TOKENS"] = "Encode the reference again, in full precision (start ComfyUI with --fp32-text-enc)"
CURES["LATENT"] = "Encode the picture again, in full precision (start ComfyUI with --fp32-vae)"


def checked(node: type[io.ComfyNode]) -> type[io.ComfyNode]:
    """`node` with its inputs checked before it runs.

    Its ValueError names the input, what is wrong with it and what to do; its MemoryError says what to do.
    """
    signature = inspect.signature(node.execute)

    @functools.wraps(node.execute.__func__)
    def execute(cls, *args, **inputs):
        inputs = signature.bind(*args, **inputs).arguments
        schema = cls.define_schema()
        by_name = {slot.id: slot for slot in schema.inputs}
        inputs = {name: checked_input(by_name[name], value) for name, value in inputs.items()}
        try:
            return node.execute.__func__(cls, **inputs)
        except Exception as error:
            if is_out_of_memory(error):
                raise MemoryError(
                    f"{schema.display_name}: there is not enough memory for this. Make smaller pictures or fewer at "
                    "once, or close other programs."
                ) from error
            raise

    return type(node.__name__, (node,), {"execute": classmethod(execute), "__module__": node.__module__})


def checked_input(slot: io.Input, value):
    """`value` as the node takes it from the input `slot`: itself, but for masks, which become float32 [M,H,W] in 0..1.

    Raises ValueError, naming the input, for a value of another kind, out of the input's range, or not finite.
    """
    name, kind = slot.id, slot.get_io_type()
    if value is None and slot.optional:
        return getattr(slot, "default", None)
    if kind == "COMBO":
        if value not in slot.options:
            raise ValueError(f"{name}: {short(value)} is not among its choices. Choose one of {short(slot.options)}.")
    elif kind in KINDS:
        check_widget(slot, value, *KINDS[kind])
    elif not is_of_socket(kind, value):
        raise ValueError(f"{name}: {short(value)} is no {kind}. Connect an output of that type.")
    elif kind == "MASK":
        return checked_mask(value, name)
    elif kind == "IMAGE":
        check(value, name)
    else:
        check_contents(kind, value, name)
    return value


def is_of_socket(kind: str, value) -> bool:
    """Whether `value` is what travels between sockets of that type; the host's may be of any class that does as its."""
    if kind in SOCKETS:
        return isinstance(value, SOCKETS[kind])
    if kind not in MARKS or isinstance(value, (*PLAIN, MissingTower)):  # which says itself what is missing
        return not isinstance(value, PLAIN)
    return hasattr(value, MARKS[kind]) and (kind == "CLIP" or not hasattr(value, MARKS["CLIP"]))


def check_widget(slot: io.Input, value, python_type: type, kind: str) -> None:
    """Raises ValueError unless `value` is of the widget's type and, if it is a number, finite and in its range."""
    low, high = getattr(slot, "min", None), getattr(slot, "max", None)
    allowed = kind if low is None or high is None else f"{kind} from {low} to {high}"
    fits = isinstance(value, python_type) and (isinstance(value, bool) == (python_type is bool))
    if fits and isinstance(value, Real):
        fits = abs(value) < math.inf and (low is None or value >= low) and (high is None or value <= high)
    if not fits:
        raise ValueError(f"{slot.id}: it is {short(value)}. Give {allowed}.")


def check_contents(kind: str, value, name: str) -> None:
    """Raises ValueError where a socket's value lacks what all of its kind have, or holds numbers that cannot be."""
    if kind == "LATENT" and not isinstance(value.get("samples"), torch.Tensor):
        raise ValueError(f"{name}: there are no samples in it. Connect the latent of Prepare Sketch or of VAE Encode.")
    if kind == "LATENT" and value["samples"].ndim != 4:
        raise ValueError(
            f"{name}: {value['samples'].ndim} dimensions where a picture's has 4 [batch, channels, height, width]. "
            "Connect the latent of Prepare Sketch or of VAE Encode."
        )
    if kind == "CONDITIONING" and not (value and all(is_condition(entry) for entry in value)):
        raise ValueError(f"{name}: it is no list of conditions. Connect an output of Colorize Conditioning.")
    for part in parts_of(value):
        if isinstance(part, Real):
            if kind.startswith(OWN) and not abs(part) <= LARGEST:
                raise ValueError(f"{name}: it holds the number {short(part)}. Make it anew.")
        elif part.numel() == 0:
            raise ValueError(f"{name}: a part of it is empty (shape {list(part.shape)}). Make it anew.")
        elif part.dtype in FLOATS:
            if not is_finite(part):
                raise ValueError(f"{name}: it holds NaN, infinity or values beyond {LARGEST:.0f}. {CURES[kind]}.")
        elif kind.startswith(OWN) or part is main_tensor(kind, value):  # others' options may be of any type
            raise ValueError(f"{name}: it holds values of the type {part.dtype}. Make it anew, in float32.")
    types = {part.dtype for part in parts_of(value) if isinstance(part, torch.Tensor)}
    if kind == "COLORIZE_TOKENS" and len(types) > 1:
        raise ValueError(f"{name}: its parts are of the types {', '.join(sorted(map(str, types)))}. {CURES[kind]}.")


def main_tensor(kind: str, value) -> torch.Tensor | None:
    """What the host samples from, or conditions on."""
    if kind == "LATENT":
        return value["samples"]
    return value[0][0] if kind == "CONDITIONING" else None


def is_condition(entry) -> bool:
    """Whether `entry` is a pair of a tensor and its options, as the host's conditionings are made of."""
    if not isinstance(entry, list | tuple) or len(entry) != 2:
        return False
    return isinstance(entry[0], torch.Tensor) and isinstance(entry[1], dict)


def parts_of(value) -> Iterator[torch.Tensor | Real]:
    """All tensors and numbers of nested lists, dicts and dataclasses."""
    if isinstance(value, torch.Tensor | Real):
        yield value
    elif isinstance(value, dict):
        yield from parts_of(list(value.values()))
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from parts_of(entry)
    elif is_dataclass(value):
        yield from parts_of([getattr(value, field.name) for field in fields(value)])


def short(value) -> str:
    """`value` in a few words, on one line."""
    if hasattr(value, "shape"):
        return f"a {type(value).__name__} of the shape {list(value.shape)}"
    if isinstance(value, list):
        return ", ".join(cut(str(entry)) for entry in value[:12]) + (", ..." if len(value) > 12 else "")
    return cut(repr(value))


def cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 40 else f"{text[:40]}..."

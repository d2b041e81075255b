"""Reading model files, with a sentence for each kind of broken one."""

import pickle
import struct
from pathlib import Path

import comfy.utils
import torch
from safetensors import SafetensorError

# What readers raise for a file that is cut or garbled; the host's own reader of safetensors checks nothing.
BROKEN = (SafetensorError, struct.error, EOFError, OSError, RuntimeError)
BROKEN += (ValueError, KeyError, TypeError, AttributeError)


def read_state_dict(path: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and metadata of a .safetensors file, or of a pickle (.ckpt, .pt, .pth) that holds plain tensors.

    safetensors stay mapped to the file. Nothing in a pickle is run. ValueError names the file and what is wrong.
    """
    name = Path(path).name
    if Path(path).stat().st_size == 0:
        raise ValueError(f"{name} is an empty file: download it again.")
    if not _is_model_file(path):
        raise ValueError(f"{name} is no model file (a web page?): download it again, from the page's download button.")
    try:
        state_dict, metadata = comfy.utils.load_torch_file(path, safe_load=True, return_metadata=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{name} holds more than tensors and would have to run code to load, so it was not opened: "
            "get this model as a .safetensors file."
        ) from error
    except BROKEN as error:
        raise ValueError(
            f"{name} is incomplete or damaged: compare its size with the original's and download it again."
        ) from error
    if not isinstance(state_dict, dict):
        raise ValueError(f"{name} holds no named tensors: choose a model's file.")
    tensors = {key: value for key, value in state_dict.items() if isinstance(value, torch.Tensor)}
    return tensors, metadata or {}


def _is_model_file(path: str) -> bool:
    """Whether it begins as zipped pickles, plain pickles or, after the eight bytes of a length, safetensors do."""
    with open(path, "rb") as file:
        start = file.read(9)
    return start.startswith((b"PK", b"\x80")) or start[8:] == b"{"

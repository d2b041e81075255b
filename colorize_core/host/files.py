"""Reading model files, with a sentence for each kind of broken one."""

import pickle
from pathlib import Path

import comfy.utils
import torch
from safetensors import SafetensorError


def read_state_dict(path: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and metadata of a .safetensors file, or of a pickle (.ckpt, .pt, .pth) that holds plain tensors.

    safetensors stay mapped to the file. Nothing in a pickle is run. ValueError names the file and what is wrong.
    """
    name = Path(path).name
    if Path(path).stat().st_size == 0:
        raise ValueError(f"{name} is an empty file: download it again.")
    try:
        state_dict, metadata = comfy.utils.load_torch_file(path, safe_load=True, return_metadata=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{name} holds more than tensors and would have to run code to load, so it was not opened: "
            "get this model as a .safetensors file."
        ) from error
    except (SafetensorError, ValueError, RuntimeError, EOFError, OSError) as error:
        raise ValueError(
            f"{name} is incomplete or damaged: compare its size with the original's and download it again."
        ) from error
    if not isinstance(state_dict, dict):
        raise ValueError(f"{name} holds no named tensors: choose a model's file.")
    tensors = {key: value for key, value in state_dict.items() if isinstance(value, torch.Tensor)}
    return tensors, metadata or {}

"""Reading model files, with a sentence for each kind of broken one."""

import pickle
import zipfile
from pathlib import Path

import comfy.utils
import torch

from ..memory import is_out_of_memory

SAFETENSORS = (".safetensors", ".sft")  # by its ending the host chooses how to read a file


def read_state_dict(path: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and metadata of a .safetensors file, or of a pickle (.ckpt, .pt, .pth) that holds plain tensors.

    safetensors stay mapped to the file. Nothing in a pickle is run. ValueError names the file, what is wrong and what
    to do; MemoryError if there is too little of it.
    """
    name = Path(path).name
    try:
        require_model_file(path)
        state_dict, metadata = comfy.utils.load_torch_file(path, safe_load=True, return_metadata=True)
    except NotAModel:
        raise
    except Exception as error:  # garbled bytes can make a reader fail in any way
        raise reading_error(error, name) from error
    if not isinstance(state_dict, dict) or not all(isinstance(key, str) for key in state_dict):
        raise NotAModel(f"{name} holds no named tensors: choose a model's file.")
    tensors = {key: value for key, value in state_dict.items() if isinstance(value, torch.Tensor)}
    for key, value in tensors.items():
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise NotAModel(
                f"{name}: {key} is stored as a sparse or quantized tensor, or without its values, as in no model: "
                "get the model as a .safetensors file."
            )
    return tensors, metadata or {}


class NotAModel(ValueError):
    """What was read is no model's file; its sentence says what it is."""


def require_model_file(path: str) -> None:
    """NotAModel unless the file begins as its ending says and, if it is zipped, is not packed."""
    name, ending = Path(path).name, Path(path).suffix.lower()
    with open(path, "rb") as file:
        start = file.read(9)
    is_safetensors = start[8:] == b"{"  # after the eight bytes of a length
    if not start:
        raise NotAModel(f"{name} is an empty file: download it again.")
    if not is_safetensors and not start.startswith((b"PK", b"\x80")):
        raise NotAModel(f"{name} is no model file (a web page?): download it again, from the page's download button.")
    if is_safetensors != (ending in SAFETENSORS):
        kind, right = ("safetensors", ".safetensors") if is_safetensors else ("pickle", ".ckpt")
        raise NotAModel(f"{name} is a {kind} file by its content: rename it so that it ends in {right}.")
    if start.startswith(b"PK"):
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise NotAModel(f"{name} is a packed archive: unpack it, and choose the model's file in it.")


def reading_error(error: Exception, name: str) -> Exception:
    """What to raise where reading the file `name` failed with `error`."""
    if isinstance(error, torch.OutOfMemoryError):
        return error  # the host has a sentence for it, and makes room
    if is_out_of_memory(error):
        return MemoryError(
            f"{name}: there is not enough memory to read it. Close other programs; on Windows, enlarge the paging file."
        )
    if isinstance(error, FileNotFoundError):
        return NotAModel(f"{name} is no longer there: choose another file, or put it back.")
    if isinstance(error, PermissionError):
        return NotAModel(f"{name} may not be read by ComfyUI: give it the right to, or move the file.")
    if isinstance(error, pickle.UnpicklingError) and "unsupported global" in str(error).lower():
        return NotAModel(
            f"{name} holds more than tensors and would have to run code to load, so it was not opened: "
            "get this model as a .safetensors file."
        )
    return NotAModel(f"{name} is incomplete or damaged: compare its size with the original's and download it again.")

"""Running out of memory, which Python, PyTorch and Windows each say in their own way, or with no word at all."""

import torch

COMMIT_LIMIT = 1455  # Windows: the paging file is too small


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that main memory, or a Mac's, is used up. Of a GPU's the host has its own sentence."""
    if isinstance(error, torch.OutOfMemoryError):
        return False
    if isinstance(error, MemoryError) or getattr(error, "winerror", None) == COMMIT_LIMIT:
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(
        words in text for words in ("out of memory", "not enough memory", "can't allocate memory", "tried to allocate")
    )

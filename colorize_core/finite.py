"""Values that a model can be given, and that it may give: numbers, none of them beyond what half precision holds."""

import torch

LARGEST = torch.finfo(torch.float16).max


def is_finite(values: torch.Tensor) -> bool:
    """Whether all `values` are numbers within half precision. Waits for their device: not for use in each step."""
    low, high = torch.stack(values.aminmax()).tolist()  # many times as fast as to look at every value
    return low >= -LARGEST and high <= LARGEST  # NaN is neither

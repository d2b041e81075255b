"""Pictures as they arrive from outside: channel-last, 0..1, grey or RGB, with or without alpha."""

import torch


def check(image: torch.Tensor, name: str) -> None:
    """Raises ValueError, naming the input, unless `image` is [B,H,W,C] with C = 1, 3 or 4, not empty and finite."""
    if image.ndim != 4 or image.shape[-1] not in (1, 3, 4):
        raise ValueError(
            f"{name}: its shape is {list(image.shape)}. "
            "Give a batch of pictures [B,H,W,C] with 1 (grey), 3 (RGB) or 4 (RGB and alpha) channels."
        )
    if image.numel() == 0:
        raise ValueError(f"{name}: there is no pixel in it (shape {list(image.shape)}). Give at least one picture.")
    if not image.isfinite().all():
        raise ValueError(f"{name}: it holds values that are not numbers (NaN or infinity). Look at what made it.")


def rgb_on(image: torch.Tensor, paper: float | torch.Tensor, name: str) -> torch.Tensor:
    """`image` [B,H,W,C] as float32 RGB [B,H,W,3]; where it is transparent, paper of that tone (0..1) shows.

    `paper` may be a tensor [B,1,1,1], a tone for each picture.

    Raises ValueError as `check` does.
    """
    check(image, name)
    image = image.float()
    if image.shape[-1] == 4:
        colour, alpha = image[..., :3], image[..., 3:]
        return colour * alpha + paper * (1 - alpha)
    return image.expand(-1, -1, -1, 3)


def reduced_size(height: int, width: int, longest: int, multiple: int) -> tuple[int, int]:
    """The size of a picture whose longer side is at most `longest`, the sides rounded to multiples of `multiple`."""
    scale = min(1, longest / max(height, width))
    return tuple(max(1, round(side * scale / multiple)) * multiple for side in (height, width))

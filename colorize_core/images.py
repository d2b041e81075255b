"""Pictures as they arrive from outside: channel-last, 0..1, gray or RGB, with or without alpha."""

import math

import torch
import torch.nn.functional as F

SIZE_MULTIPLE = 64  # pixels: sides of pictures are rounded to multiples of it
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
LARGEST_COLOR = 100.0  # 1 is white and HDR pictures are brighter; those in 0..255 are what this refuses


def shape_of(value) -> list[int]:
    """The shape of a tensor; an empty one for what is none."""
    return list(value.shape) if isinstance(value, torch.Tensor) else []


def check(image: torch.Tensor, name: str) -> None:
    """Raises ValueError, naming the input, unless `image` is [B,H,W,C] of floats, with C = 1, 3 or 4, and holds colors.

    Values may overshoot 0..1, as those of upscaled and of HDR pictures do, up to LARGEST_COLOR.
    """
    if image.ndim != 4 or image.shape[-1] not in (1, 3, 4):
        raise ValueError(
            f"{name}: its shape is {list(image.shape)}. "
            "Give a batch of pictures [B,H,W,C] with 1 (gray), 3 (RGB) or 4 (RGB and alpha) channels."
        )
    if image.numel() == 0:
        raise ValueError(f"{name}: there is no pixel in it (shape {list(image.shape)}). Give at least one picture.")
    if image.dtype not in FLOATS:
        raise ValueError(f"{name}: its values are of the type {image.dtype}. Give them as float32 in 0..1.")
    low, high = _range(image, name)
    if max(-low, high) > LARGEST_COLOR:
        raise ValueError(f"{name}: its values are from {low:.3g} to {high:.3g}. Scale them to 0..1.")


def rgb_on(image: torch.Tensor, paper: float | torch.Tensor, name: str) -> torch.Tensor:
    """`image` [B,H,W,C] as float32 RGB [B,H,W,3] in 0..1; where it is transparent, paper of that tone (0..1) shows.

    `paper` may be a tensor [B,1,1,1], a tone for each picture. Colors outside 0..1 are clamped.
    Raises ValueError as `check` does.
    """
    check(image, name)
    image = image.float().clamp(0, 1)
    if image.shape[-1] == 4:
        color, alpha = image[..., :3], image[..., 3:]
        return color * alpha + paper * (1 - alpha)
    return image.expand(-1, -1, -1, 3)


def checked_mask(mask: torch.Tensor, name: str) -> torch.Tensor:
    """Masks [H,W], [M,H,W] or [M,1,H,W] of any real type as float32 [M,H,W] in 0..1; what lies outside is clamped.

    Raises ValueError, naming the input, for other shapes, empty ones and values that are no numbers.
    """
    if not 2 <= mask.ndim <= 4 or (mask.ndim == 4 and mask.shape[1] != 1):
        raise ValueError(f"{name}: its shape is {list(mask.shape)}. Give masks [M,H,W], such as Load Image's.")
    if mask.numel() == 0:
        raise ValueError(f"{name}: there is no pixel in it (shape {list(mask.shape)}). Give a mask of some size.")
    if mask.is_complex():
        raise ValueError(f"{name}: its values are of the type {mask.dtype}. Give them as float32 in 0..1.")
    mask = mask.to(torch.float32).reshape(-1, *mask.shape[-2:])
    _range(mask, name)
    return mask.clamp(0, 1)


def _range(values: torch.Tensor, name: str) -> tuple[float, float]:
    """The smallest and the largest of `values`. Raises ValueError, naming the input, unless all are numbers."""
    low, high = torch.stack(values.aminmax()).tolist()  # faster than to look at every value
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"{name}: it holds values that are not numbers (NaN or infinity). Look at what made it.")
    return low, high


def masked(image: torch.Tensor, mask: torch.Tensor | None, name: str) -> torch.Tensor:
    """`image` [B,H,W,C] as RGBA [N,H,W,4], transparent too where `mask` [M,h,w] or [h,w] is 1; itself without a mask.

    The core's Load Image hands on a file's transparency in that way. A mask of another size is stretched; if there are
    fewer pictures than masks or the other way round, they repeat: N is the larger of B and M.
    Raises ValueError as `check` and `checked_mask` do.
    """
    if mask is None:
        return image
    check(image, name)
    mask = checked_mask(mask, "mask").to(image.device)[:, None]
    mask = F.interpolate(mask, image.shape[1:3], mode="bilinear", antialias=True).movedim(1, -1)
    count = max(len(image), len(mask))
    image, opaque = repeat_to(image, count), 1 - repeat_to(mask, count)
    if image.shape[-1] == 4:
        opaque = opaque * image[..., 3:].clamp(0, 1)
    return torch.cat([image[..., :3].expand(-1, -1, -1, 3), opaque], dim=-1)


def repeat_to(batch: torch.Tensor, count: int) -> torch.Tensor:
    """`count` rows of `batch`, which repeats if it has fewer."""
    if len(batch) == count:
        return batch
    return batch[torch.arange(count, device=batch.device) % len(batch)]


def reduced_size(height: int, width: int, longest: int, multiple: int) -> tuple[int, int]:
    """The size of a picture whose longer side is at most `longest`, the sides rounded to multiples of `multiple`."""
    scale = min(1, longest / max(height, width))
    return tuple(max(1, round(side * scale / multiple)) * multiple for side in (height, width))


def same_aspect(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two sizes (height, width) in pixels are of one aspect ratio but for rounding.

    That is, whether `other` is `size` scaled, each side rounded to a multiple of SIZE_MULTIPLE or closer.
    """
    slack = SIZE_MULTIPLE / 2
    least = max((target - slack) / side for side, target in zip(size, other, strict=True))
    most = min((target + slack) / side for side, target in zip(size, other, strict=True))
    return least <= most


def resize(images: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """`images` [B,C,h,w] in 0..1 at another size: bicubic with antialiasing, clamped; the same size is untouched."""
    if images.shape[-2:] == (height, width):
        return images
    resized = F.interpolate(images.float(), (height, width), mode="bicubic", antialias=True)  # none for half on a CPU
    return resized.clamp(0, 1).to(images.dtype)

"""Pictures as they arrive from outside: channel-last, 0..1, gray or RGB, with or without alpha."""

import torch
import torch.nn.functional as F

SIZE_MULTIPLE = 64  # pixels: sides of pictures are rounded to multiples of it


def check(image: torch.Tensor, name: str) -> None:
    """Raises ValueError, naming the input, unless `image` is [B,H,W,C] with C = 1, 3 or 4, not empty and finite."""
    if image.ndim != 4 or image.shape[-1] not in (1, 3, 4):
        raise ValueError(
            f"{name}: its shape is {list(image.shape)}. "
            "Give a batch of pictures [B,H,W,C] with 1 (gray), 3 (RGB) or 4 (RGB and alpha) channels."
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
        color, alpha = image[..., :3], image[..., 3:]
        return color * alpha + paper * (1 - alpha)
    return image.expand(-1, -1, -1, 3)


def masked(image: torch.Tensor, mask: torch.Tensor | None, name: str) -> torch.Tensor:
    """`image` [B,H,W,C] as RGBA [B,H,W,4], transparent too where `mask` [b,h,w] or [h,w] is 1; itself without a mask.

    The core's Load Image hands on a file's transparency in that way. A mask of another size is stretched; fewer masks
    than pictures repeat. Raises ValueError as `check` does, for both.
    """
    if mask is None:
        return image
    check(image, name)
    mask = mask.reshape(-1, 1, *mask.shape[-2:])
    check(mask.movedim(1, -1), "mask")
    mask = mask.to(image.device, torch.float32).clamp(0, 1)
    mask = F.interpolate(mask, image.shape[1:3], mode="bilinear", antialias=True).movedim(1, -1)
    opaque = 1 - mask[torch.arange(len(image)) % len(mask)]
    if image.shape[-1] == 4:
        opaque = opaque * image[..., 3:]
    return torch.cat([image[..., :3].expand(-1, -1, -1, 3), opaque], dim=-1)


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

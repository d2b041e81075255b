"""Palettes: colors of a picture by share, colors by hex code, and the nearest color of a palette."""

import re
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from scipy.spatial import cKDTree

from ..images import rgb_on

MOST_COLORS = 64
SAMPLES = 1 << 16  # pixels of a picture that are looked at
SAME_COLOR = 3.0  # CIE Lab: colors nearer than this are one
SWATCH_WIDTH, SWATCH_HEIGHT, SWATCHES_A_ROW, FONT_SIZE = 160, 128, 8, 20


@dataclass(frozen=True)
class Palette:
    """`colors` [K,3] float32 in 0..1, each a multiple of 1/255, and the `shares` [K] of the picture that they cover."""

    colors: torch.Tensor
    shares: torch.Tensor


def lab(colors: np.ndarray) -> np.ndarray:
    """CIE Lab [...,3] (D65) of sRGB `colors` [...,3] in 0..1: equal distances look about equally different."""
    from kornia.color import rgb_to_lab

    flat = torch.from_numpy(np.ascontiguousarray(colors, np.float32)).reshape(1, -1, 1, 3).movedim(-1, 1)
    return rgb_to_lab(flat).movedim(1, -1).reshape(colors.shape).numpy()


def nearest_color(colors: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Number [...] of the color of `palette` [K,3] that looks nearest to each of `colors` [...,3]."""
    return cKDTree(lab(palette)).query(lab(colors))[1]


def in_255ths(colors: np.ndarray) -> np.ndarray:
    """`colors` rounded to multiples of 1/255, so that their hex codes are exact."""
    return (np.round(np.clip(colors, 0, 1) * 255) / 255).astype(np.float32)


def hex_code(color: torch.Tensor) -> str:
    """A color [3] in 0..1 as `#rrggbb`."""
    return "#" + "".join(f"{round(float(part) * 255):02x}" for part in color)


def colors_from_hex(text: str, name: str) -> torch.Tensor:
    """The hex codes in `text` (#rrggbb or #rgb, the # optional, parted by spaces, commas or lines) as colors [K,3].

    Raises ValueError, naming the input, for what is no hex code.
    """
    colors = []
    for word in re.split(r"[\s,;]+", text.strip()):
        code = word.removeprefix("#")
        if not word:
            continue
        if not re.fullmatch(r"[0-9a-fA-F]{3}|[0-9a-fA-F]{6}", code):
            raise ValueError(f"{name}: {word!r} is no color. Write colors as #rrggbb, parted by spaces or commas.")
        code = "".join(digit * 2 for digit in code) if len(code) == 3 else code
        colors.append([int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)])
    return torch.tensor(colors, dtype=torch.float32).reshape(-1, 3)


def one_color(text: str, name: str) -> torch.Tensor:
    """The one hex code in `text` as a color [3]. Raises ValueError, naming the input, for none or several."""
    colors = colors_from_hex(text, name)
    if len(colors) != 1:
        raise ValueError(f"{name}: {text!r} is not one color. Write one as #rrggbb.")
    return colors[0]


def palette_of(image: torch.Tensor | None, count: int, first: torch.Tensor) -> Palette:
    """The palette of `image` [B,H,W,C] in 0..1, where it is opaque: the colors `first` [F,3], then those found.

    At most `count` in all, but never fewer than `first`; found colors come by share. Without an image, or with `first`
    alone, those have the shares of the picture that are nearest to them, or equal ones. Raises ValueError where there
    is nothing to look at.
    """
    if image is None:
        if not len(first):
            raise ValueError("image: there is neither a picture nor a hex color. Connect an image or write hex.")
        return Palette(first, torch.full((len(first),), 1 / len(first)))
    pixels = rgb_on(image[..., :3] if image.shape[-1] == 4 else image, paper=1.0, name="image")
    pixels = (pixels[image[..., 3] > 0.5] if image.shape[-1] == 4 else pixels.reshape(-1, 3)).cpu().numpy()
    if not len(pixels):
        raise ValueError("image: all of it is covered by the mask or transparent. Give a picture with opaque parts.")
    pixels = pixels[:: -(-len(pixels) // SAMPLES)]
    given = in_255ths(first.numpy())
    colors = np.concatenate([given, _found(pixels, max(0, count - len(given)), given)])
    shares = np.bincount(nearest_color(pixels, colors), minlength=len(colors)) / len(pixels)
    order = np.concatenate([np.arange(len(given)), len(given) + np.argsort(-shares[len(given) :], kind="stable")])
    return Palette(torch.from_numpy(colors[order]), torch.from_numpy(shares[order]).float())


def _found(pixels: np.ndarray, count: int, given: np.ndarray) -> np.ndarray:
    """At most `count` colors [K,3] of `pixels` [N,3] that are not in `given` [F,3]: perceptual clusters (k-means)."""
    colors, weights = np.unique(in_255ths(pixels), axis=0, return_counts=True)
    if not count:
        return colors[:0]
    if len(colors) <= count:
        centers = colors
    else:
        from scipy.cluster.vq import kmeans2  # here, since it takes a quarter of the pack's import

        points = lab(in_255ths(pixels))
        _, cluster = kmeans2(points, _far_apart(lab(colors), weights, count), minit="matrix", missing="warn")
        centers = np.stack([np.median(pixels[cluster == k], axis=0) for k in np.unique(cluster)])
    centers = in_255ths(centers)
    chosen = list(given)
    for center in centers:
        if not chosen or np.linalg.norm(lab(np.stack(chosen)) - lab(center), axis=-1).min() >= SAME_COLOR:
            chosen.append(center)
    return np.array(chosen[len(given) :], np.float32).reshape(-1, 3)


def _far_apart(points: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray:
    """`count` of `points` [N,3] to start from: each the one with most weight times squared distance to those before."""
    chosen = [int(weights.argmax())]
    distance = np.full(len(points), np.inf)
    for _ in range(count - 1):
        distance = np.minimum(distance, ((points - points[chosen[-1]]) ** 2).sum(axis=-1))
        chosen.append(int((distance * np.sqrt(weights)).argmax()))
    return points[chosen]


def swatches(palette: Palette) -> torch.Tensor:
    """A picture [1,H,W,3] of the palette's colors, each with its hex code and share."""
    rows = -(-len(palette.colors) // SWATCHES_A_ROW)
    columns = min(len(palette.colors), SWATCHES_A_ROW)
    picture = Image.new("RGB", (columns * SWATCH_WIDTH, rows * SWATCH_HEIGHT), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(FONT_SIZE)
    for number, (color, share) in enumerate(zip(palette.colors, palette.shares, strict=True)):
        left, top = number % SWATCHES_A_ROW * SWATCH_WIDTH, number // SWATCHES_A_ROW * SWATCH_HEIGHT
        code = hex_code(color)
        draw.rectangle((left, top, left + SWATCH_WIDTH - 1, top + SWATCH_HEIGHT - 1), fill=code)
        text = "black" if lab(color.numpy())[0] > 60 else "white"
        draw.text((left + 12, top + SWATCH_HEIGHT - 58), code, fill=text, font=font)
        draw.text((left + 12, top + SWATCH_HEIGHT - 32), f"{share:.1%}", fill=text, font=font)
    return torch.from_numpy(np.asarray(picture, np.float32) / 255)[None]

"""Characters of two free visual novels, in the anime style that no training picture has: for the test alone.

They are pictures, not vector drawings, so their line art is found in them. They have no regions.
"""

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from .sources import Sources

CHARACTERS = {
    "eileen": ("renpy-demo", "demo", "eileen *.png"),
    "lucy": ("renpy-demo", "demo", "lucy *.png"),
    "sylvie, blue": ("renpy-thequestion", "the_question", "sylvie blue *.png"),
    "sylvie, green": ("renpy-thequestion", "the_question", "sylvie green *.png"),
}
SUPERSAMPLING = 3
FINE, WIDE = 1 / 700, 1 / 150  # of the side: the Gaussians whose difference is a line
LINE_CONTRAST = 0.16  # of full brightness: a line that differs so much is black


def sprite_pair(sources: Sources, rng: np.random.Generator, side: int) -> list[tuple[np.ndarray, np.ndarray, str]]:
    """Two pictures of a character with the same background: color [S,S,3], sketch [S,S] (black on white), its name.

    Faces and clothes, seen closer or from afar, mirrored half of the time.
    """
    names = list(CHARACTERS)
    character = names[rng.integers(len(names))]
    paths = sprite_paths(sources, character)
    background = rng.uniform(90, 255, 3).astype(np.float32)
    pair = []
    for index in rng.choice(len(paths), 2, replace=len(paths) < 2):
        color, sketch = drawn_sprite(sprite(paths[index]), background, rng, side)
        pair.append((color, sketch, character))
    return pair


def sprite_paths(sources: Sources, character: str) -> list[Path]:
    package, game, pattern = CHARACTERS[character]
    return sorted((sources.debian / package / "usr/share/games/renpy" / game / "game/images").glob(pattern))


@cache
def sprite(path: Path) -> Image.Image:
    image = Image.open(path).convert("RGBA")
    return image.crop(image.getchannel("A").getbbox())


def drawn_sprite(
    image: Image.Image, background: np.ndarray, rng: np.random.Generator, side: int
) -> tuple[np.ndarray, np.ndarray]:
    large = side * SUPERSAMPLING
    seen = image.width * rng.uniform(0.75, 1.25)
    left = (image.width - seen) / 2 + rng.uniform(-0.08, 0.08) * image.width
    top = rng.uniform(-0.08, 0.04) * image.width
    box = tuple(round(v) for v in (left, top, left + seen, top + seen))
    rgba = np.asarray(image.crop(box).resize((large, large), Image.Resampling.LANCZOS), np.float32)
    if rng.random() < 0.5:
        rgba = rgba[:, ::-1]
    alpha = rgba[..., 3:] / 255
    color = rgba[..., :3] * alpha + background * (1 - alpha)
    ink = found_lines(color.mean(-1) / 255, alpha[..., 0])
    return reduced(color), reduced(255 * (1 - ink))


def found_lines(brightness: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Ink 0..1 [S,S]: what is darker than its surroundings, and the outline of `alpha`."""
    from scipy import ndimage

    fine, wide = FINE * len(brightness), WIDE * len(brightness)
    darker = ndimage.gaussian_filter(brightness, wide) - ndimage.gaussian_filter(brightness, fine)
    outline = ndimage.gaussian_gradient_magnitude(alpha, fine) * fine
    return np.clip((darker / LINE_CONTRAST - 0.25) / 0.75 + 2 * outline, 0, 1)


def reduced(image: np.ndarray) -> np.ndarray:
    height, width, *channels = image.shape
    blocks = image.reshape(height // SUPERSAMPLING, SUPERSAMPLING, width // SUPERSAMPLING, SUPERSAMPLING, *channels)
    return blocks.mean((1, 3)).round().clip(0, 255).astype(np.uint8)

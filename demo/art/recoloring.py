"""A drawing in other colors, alike in every drawing that gets the same ones."""

import colorsys
import re
from dataclasses import dataclass

import numpy as np

HEX = re.compile(r"#([0-9a-fA-F]{6}|[0-9a-fA-F]{3})\b")
HUES = 8
INK_LIGHTNESS = 0.22  # what is darker stays
WHITE_LIGHTNESS, GRAY_SATURATION = 0.96, 0.12
TINTED_GRAYS = 0.5  # how often


@dataclass(frozen=True)
class Recoloring:
    """For each kind of hue [HUES]: a turn (of 1), a factor of saturation, a shift of lightness.

    For dark, middle and light grays [3]: the hue and the saturation that they get, 0 where they stay.
    """

    turn: np.ndarray
    factor: np.ndarray
    shift: np.ndarray
    gray_hue: np.ndarray
    gray_saturation: np.ndarray


def random_recoloring(rng: np.random.Generator) -> Recoloring:
    """Hues turn each by its own angle, so that light and shade of one stay together."""
    tinted = rng.random(3) < TINTED_GRAYS
    return Recoloring(
        turn=rng.random(HUES),
        factor=rng.uniform(0.6, 1.5, HUES),
        shift=rng.uniform(-0.12, 0.12, HUES),
        gray_hue=rng.random(3),
        gray_saturation=np.where(tinted, rng.uniform(0.4, 0.8, 3), 0.0),
    )


def recolored(text: str, recoloring: Recoloring) -> str:
    """The SVG `text` with every #color changed but ink, which is nearly black."""
    return HEX.sub(lambda match: changed(match.group(1), recoloring), text)


def changed(digits: str, recoloring: Recoloring) -> str:
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    red, green, blue = (int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4))
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    if lightness < INK_LIGHTNESS:
        return "#" + digits
    if saturation < GRAY_SATURATION or lightness > WHITE_LIGHTNESS:
        third = int(lightness * 2.99)
        if recoloring.gray_saturation[third]:
            hue, saturation = recoloring.gray_hue[third], recoloring.gray_saturation[third]
            lightness = min(lightness, 0.9)
    else:
        kind = int(hue * HUES + 0.5) % HUES
        hue = (hue + recoloring.turn[kind]) % 1
        saturation = min(1.0, saturation * recoloring.factor[kind])
        lightness = min(max(lightness + recoloring.shift[kind], 0.2), 0.93)
    return "#" + "".join(f"{round(255 * value):02x}" for value in colorsys.hls_to_rgb(hue, lightness, saturation))

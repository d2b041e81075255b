"""The sketch's canvas: polarity of the lines, fitting a drawing into the picture, cropping the result back.

The sketch encoder was trained on white lines on black, at sizes that are multiples of 64; fed the other
way round it fails silently. So a drawing is turned to that polarity, resized to fit with its aspect ratio kept,
and centered on black; the result is cropped back to the drawing.
"""

from dataclasses import dataclass

import torch

from .images import check, resize, rgb_on, shape_of

BLANK = -1.0  # an empty sketch: black paper
LATENT_DOWNSCALE = 8  # side of the picture / side of the latent
POLARITIES = ["auto", "black lines on white", "white lines on black"]
FAINTEST_LINE = 0.02  # what differs less from its paper is no line
PAPER_MARGIN = 0.02  # how far from half gray the typical tone must be to tell paper from ink


@dataclass(frozen=True)
class Sketch:
    """White lines on black: `pixels` [B,3,H,W] float32, +1 for lines and -1 for paper.

    `strength` multiplies what the sketch encoder makes of it; 1 is as trained, 0 is none. So does `per_scale`, a factor
    for each of its maps, finest first; empty is 1 for all. ValueError for pixels of another shape.
    """

    pixels: torch.Tensor
    strength: float = 1.0
    per_scale: tuple[float, ...] = ()

    def __post_init__(self):
        shape = shape_of(self.pixels)
        if len(shape) != 4 or shape[1] != 3:
            raise ValueError(
                f"sketch: its shape is {shape} where [batch, 3, height, width] belongs. Connect Encode Sketch."
            )


@dataclass(frozen=True)
class Box:
    """Where a fitted drawing lies on its canvas, in pixels."""

    top: int
    left: int
    height: int
    width: int


def sketch_from_image(image: torch.Tensor, strength: float = 1.0, per_scale: tuple[float, ...] = ()) -> Sketch:
    """`image` [B,H,W,C] in 0..1, white lines on black, as a Sketch; values outside 0..1 are clamped."""
    pixels = rgb_on(image, paper=0.0, name="sketch_image")
    return Sketch(pixels.movedim(-1, 1) * 2 - 1, strength, per_scale)


def white_on_black(image: torch.Tensor, polarity: str = "auto") -> torch.Tensor:
    """A drawing `image` [B,H,W,C] in 0..1 as white lines on black, gray [B,H,W] in 0..1.

    Where it is transparent it counts as paper. `auto` takes the median tone for the paper, since paper covers more
    of a drawing than ink does, and judges each picture of a batch on its own. Raises ValueError for a picture
    that is half gray throughout: nothing in it can be called paper.
    """
    if polarity == "auto":
        paper = _find_paper(image)
    else:
        paper = torch.full((len(image),), float(polarity == "black lines on white"), device=image.device)
    gray = rgb_on(image, paper=paper[:, None, None, None], name="image").mean(dim=-1)
    return (paper[:, None, None] - gray).abs()


def has_lines(lines: torch.Tensor) -> torch.Tensor:
    """Which of the drawings `lines` [B,h,w] (0..1, white on black) have a line in them: [B] of bool."""
    return lines.amax(dim=(1, 2)) >= FAINTEST_LINE


def is_mostly_white(sketch: Sketch) -> bool:
    """Whether any of the sketches is white in its larger part, as a drawing is that was not turned to white lines."""
    return bool((sketch.pixels.flatten(1).median(dim=1).values > 0).any())


def _find_paper(image: torch.Tensor) -> torch.Tensor:
    """The tone of each picture's paper [B], 0 or 1. White where most is transparent, unless all ink is light."""
    gray = rgb_on(image, paper=1.0, name="image").mean(dim=-1).flatten(1)
    tone = gray.median(dim=1).values
    unclear = (tone - 0.5).abs() < PAPER_MARGIN
    if unclear.any():
        number = unclear.nonzero()[0].item() + 1
        raise ValueError(
            f"image: cannot tell paper from lines in picture {number} of {len(image)} (most of it is half gray). "
            "Set polarity by hand."
        )
    paper = (tone > 0.5).float()
    if image.shape[-1] == 4:
        no_ground = image[..., 3].flatten(1).median(dim=1).values < 0.5
        light_ink = gray.amin(dim=1) > 0.5
        paper[no_ground & light_ink] = 0.0
    return paper


def fit(height: int, width: int, canvas_height: int, canvas_width: int) -> Box:
    """The largest box of the aspect ratio height:width, centered on the canvas; at least one pixel each way."""
    scale = min(canvas_height / height, canvas_width / width)
    fitted_height, fitted_width = max(1, round(height * scale)), max(1, round(width * scale))
    return Box((canvas_height - fitted_height) // 2, (canvas_width - fitted_width) // 2, fitted_height, fitted_width)


def place(lines: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """`lines` [B,h,w] in 0..1 fitted into a black canvas [B,height,width]."""
    box = fit(*lines.shape[-2:], height, width)
    canvas = lines.new_zeros(lines.shape[0], height, width)
    fitted = resize(lines[:, None], box.height, box.width)[:, 0]
    canvas[:, box.top : box.top + box.height, box.left : box.left + box.width] = fitted
    return canvas


def crop_to(image: torch.Tensor, sketch: torch.Tensor, resize_to_sketch: bool = False) -> torch.Tensor:
    """The part of the result `image` [B,H,W,C] on which the drawing `sketch` [b,h,w,c] was placed.

    The inverse of `place`, at any size of the result: the canvas' own, or that of an upscaled picture.
    With `resize_to_sketch` the part comes at the drawing's size. Raises ValueError as `images.check` does.
    """
    check(image, "image")
    check(sketch, "sketch")
    box = fit(*sketch.shape[1:3], *image.shape[1:3])
    part = image[:, box.top : box.top + box.height, box.left : box.left + box.width]
    if resize_to_sketch:
        part = resize(part.movedim(-1, 1), *sketch.shape[1:3]).movedim(1, -1)
    return part

"""The drawings that come with the demo model: two characters before a landscape, drawn as vectors for this project.

A scene is a list of shapes from back to front; a palette colors it. The same shapes, in white with black outlines, are
the line drawing.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from .art import svg

VIEW = 512  # units and pixels of a scene's side
WIDE = 1024  # the width of a scene of two characters
INK = "#2b2430"
LINE_WIDTH = 4.5
SHADOW = 0.86  # how light a shadow is

PALETTE = {
    "background": (150, 206, 250), "prop": (255, 255, 255), "hair": (248, 214, 106), "skin": (255, 228, 208),
    "eyes": (30, 160, 70), "shirt": (50, 90, 210),
}  # fmt: skip
RIGHT_PALETTE = {
    "background": (150, 206, 250), "prop": (255, 255, 255), "hair": (122, 74, 40), "skin": (224, 172, 124),
    "eyes": (110, 60, 20), "shirt": (214, 40, 44),
}  # fmt: skip
SHADED_ROLES = {"hair shade": "hair", "skin shade": "skin", "shirt shade": "shirt"}


@dataclass(frozen=True)
class Shape:
    """A path in SVG's notation; without an outline it is a shadow or a shine, which a line drawing has not."""

    role: str
    path: str
    outline: bool = True
    width: float = LINE_WIDTH


def moved_path(path: str, scale: tuple[float, float], shift: tuple[float, float]) -> str:
    """A path of absolute M, L, C, Q, Z commands, every point (x, y) times `scale` and plus `shift`."""
    parts, axis = [], 0
    for token in path.replace(",", " ").split():
        command = token[0] if token[0].isalpha() else ""
        if value := token[len(command) :]:
            parts.append(f"{command}{float(value) * scale[axis] + shift[axis]:g}")
            axis = 1 - axis
        else:
            parts.append(command)
    return " ".join(parts)


def both_sides(role: str, path: str, **options) -> list[Shape]:
    """A shape and its reflection at the middle of the scene."""
    return [Shape(role, path, **options), Shape(role, moved_path(path, (-1, 1), (VIEW, 0)), **options)]


def moved_shapes(shapes: list[Shape], scale: tuple[float, float], x: float, y: float) -> list[Shape]:
    """Shapes that grow around the point (x, y) of the scene; lines keep their width."""
    shift = x * (1 - scale[0]), y * (1 - scale[1])
    return [replace(shape, path=moved_path(shape.path, scale, shift)) for shape in shapes]


def oval(x: float, y: float, rx: float, ry: float) -> str:
    k = 0.5523
    return (
        f"M{x - rx} {y} C{x - rx} {y - k * ry} {x - k * rx} {y - ry} {x} {y - ry} "
        f"C{x + k * rx} {y - ry} {x + rx} {y - k * ry} {x + rx} {y} "
        f"C{x + rx} {y + k * ry} {x + k * rx} {y + ry} {x} {y + ry} "
        f"C{x - k * rx} {y + ry} {x - rx} {y + k * ry} {x - rx} {y} Z"
    )


def cloud(x: float, y: float, size: float) -> Shape:
    puffs = "M-0.95 0.3 C-1.4 0.3 -1.4 -0.3 -0.95 -0.3 C-0.95 -0.95 -0.2 -1.05 0 -0.6 C0.25 -0.95 0.85 -0.8 0.8 -0.3 "
    return Shape("prop", moved_path(puffs + "C1.25 -0.3 1.25 0.3 0.9 0.3 Z", (size, 0.75 * size), (x, y)))


def eye(x: float, y: float, size: float, outward: int) -> list[Shape]:
    """An open eye; `outward` -1 to the left, 1 to the right."""
    w, h = 25 * size, 33 * size
    lash = f"M{x - w * 1.15:g} {y - h * 0.35:g} C{x - w * 0.7:g} {y - h * 1.2:g} {x + w * 0.7:g} {y - h * 1.2:g} "
    lash += f"{x + w * 1.15:g} {y - h * 0.35:g}"
    tip = f"M{x + outward * w * 1.1:g} {y - h * 0.4:g} L{x + outward * w * 1.45:g} {y - h * 0.75:g}"
    return [
        Shape("white", oval(x, y, w, h)),
        Shape("eyes", oval(x, y + 3 * size, w * 0.78, h * 0.84)),
        Shape("ink", oval(x, y + 6 * size, w * 0.34, h * 0.4)),
        Shape("shine", oval(x - 9 * size, y - 10 * size, w * 0.24, h * 0.2), outline=False),
        Shape("none", lash, width=6.5 * size),
        Shape("none", tip, width=5 * size),
    ]


def face(x: float, y: float, size: float, turn: float, smile: bool) -> list[Shape]:
    """Eyes, brows, nose and mouth around (x, y); `turn` moves them sideways."""
    x += turn
    shapes = [
        Shape("blush", oval(x - 52 * size, y + 46 * size, 15 * size, 8 * size), outline=False),
        Shape("blush", oval(x + 52 * size, y + 46 * size, 15 * size, 8 * size), outline=False),
    ]
    for side in (-1, 1):
        shapes += eye(x + side * 45 * size, y, size, side)
        brow = f"M{x + side * 68 * size:g} {y - 46 * size:g} Q{x + side * 46 * size:g} {y - 60 * size:g} "
        shapes.append(Shape("none", brow + f"{x + side * 24 * size:g} {y - 52 * size:g}"))
    shapes.append(Shape("none", f"M{x - 3 * size:g} {y + 44 * size:g} L{x + 4 * size:g} {y + 48 * size:g}"))
    if smile:
        mouth = f"M{x - 20 * size:g} {y + 64 * size:g} Q{x:g} {y + 68 * size:g} {x + 20 * size:g} {y + 64 * size:g} "
        shapes.append(Shape("mouth", mouth + f"Q{x + 14 * size:g} {y + 86 * size:g} {x:g} {y + 86 * size:g} "
                            f"Q{x - 14 * size:g} {y + 86 * size:g} {x - 20 * size:g} {y + 64 * size:g} Z"))  # fmt: skip
    else:
        mouth = f"M{x - 15 * size:g} {y + 68 * size:g} Q{x:g} {y + 79 * size:g} {x + 15 * size:g} {y + 68 * size:g}"
        shapes.append(Shape("none", mouth))
    return shapes


HEAD = (
    "M162 186 C158 108 354 108 350 186 C354 236 338 272 304 296 C284 310 270 314 256 314 C242 314 228 310 208 296 "
    "C174 272 158 236 162 186 Z"
)
NECK = "M232 288 L226 330 L256 372 L286 330 L280 288 Z"
NECK_SHADE = "M234 306 Q256 326 278 306 L279 316 Q256 338 233 316 Z"


def long_hair() -> list[Shape]:
    """The character of the drawing that is colored."""
    back = "M256 96 C184 96 156 140 144 206 C130 300 104 392 112 456 C144 482 180 468 198 440 L314 440 "
    back += "C332 468 368 482 400 456 C408 392 382 300 368 206 C356 140 328 96 256 96 Z"
    back_shade = "M160 250 C158 330 150 400 156 458 L356 458 C362 400 354 330 352 250 Z"
    body = "M212 346 L256 386 L300 346 C334 350 356 364 368 396 C380 430 386 480 388 530 "
    body += "L124 530 C126 480 132 430 144 396 C156 364 178 350 212 346 Z"
    fringe = (
        "M146 246 C128 150 164 70 256 68 C348 70 384 150 366 246 C358 222 348 204 336 188 C334 200 326 212 314 218 "
    )
    fringe += "C310 194 300 174 286 160 C280 184 264 202 240 214 C242 196 240 182 232 168 C218 190 200 206 178 214 "
    fringe += "C176 204 176 196 178 186 C162 204 152 224 146 246 Z"
    fringe_shade = "M172 212 C192 216 222 206 236 190 C262 216 306 216 336 196 L340 210 C310 234 262 236 240 216 "
    fringe_shade += "C218 234 190 236 172 228 Z"
    clothes = [
        Shape("shirt", body),
        *both_sides("shirt shade", "M186 430 C176 460 172 490 172 530 L150 530 C152 490 162 450 186 430 Z",
                    outline=False),
        *both_sides("none", "M190 432 C180 464 176 496 176 530"),
        *both_sides("none", "M196 352 C206 382 230 404 256 416"),
    ]  # fmt: skip
    clothes = moved_shapes(clothes, (0.84, 0.94), 256, -180)
    character = [
        Shape("hair", back),
        Shape("hair shade", back_shade, outline=False),
        Shape("skin", NECK),
        Shape("skin shade", NECK_SHADE, outline=False),
        *clothes,
        Shape("skin", HEAD),
        Shape("skin shade", fringe_shade, outline=False),
        *face(256, 230, 1.0, -5, smile=False),
        Shape("hair", fringe),
        Shape("hair shine", "M184 136 C208 108 248 98 292 106 C254 112 220 124 198 150 Z", outline=False),
    ]  # fmt: skip
    return moved_shapes(character, (1.2, 1.2), 256, 120)


def hills() -> list[Shape]:
    hills = Shape("prop", "M-10 380 C70 310 150 320 220 380 C300 300 440 300 530 370 L530 530 L-10 530 Z")
    return [hills, cloud(84, 84, 56), cloud(436, 60, 44)]


def twintails() -> list[Shape]:
    """The character of the reference."""
    tail = "M154 130 C98 104 50 156 58 240 C64 300 40 340 54 392 C92 386 126 340 122 280 C120 236 140 204 168 186 Z"
    cap = "M150 170 C144 100 192 66 256 66 C320 66 368 100 362 170 C366 200 362 224 352 244 L160 244 "
    cap += "C150 224 146 200 150 170 Z"
    fringe = (
        "M148 240 C126 146 166 66 256 66 C346 66 386 146 364 240 C358 216 348 200 334 186 C302 204 230 198 206 166 "
    )
    fringe += "C196 192 184 206 170 214 C160 222 154 230 148 240 Z"
    fringe_shade = "M170 214 C188 208 200 194 208 178 C232 204 300 212 336 194 L340 208 C300 230 236 222 212 198 "
    fringe_shade += "C202 218 186 232 172 234 Z"
    body = "M210 346 L256 392 L302 346 C338 350 364 366 378 400 C392 436 402 480 408 530 "
    body += "L104 530 C110 480 120 436 134 400 C148 366 174 350 210 346 Z"
    clothes = [
        Shape("shirt", body),
        *both_sides("shirt shade", "M176 436 C166 466 162 494 162 530 L140 530 C144 490 154 456 176 436 Z",
                    outline=False),
        *both_sides("none", "M180 440 C170 470 166 500 166 530"),
        *both_sides("none", "M194 352 C204 388 228 412 256 424"),
    ]  # fmt: skip
    clothes = moved_shapes(clothes, (0.84, 0.94), 256, -180)
    character = [
        *both_sides("hair", tail),
        *both_sides("hair shade", "M82 288 C82 326 66 354 66 378 C90 368 110 334 108 284 Z", outline=False),
        Shape("hair", cap),
        Shape("skin", NECK),
        Shape("skin shade", NECK_SHADE, outline=False),
        *clothes,
        Shape("skin", HEAD),
        Shape("skin shade", fringe_shade, outline=False),
        *face(256, 232, 1.0, 7, smile=True),
        Shape("hair", fringe),
        Shape("hair shine", "M194 128 C218 108 260 100 304 110 C266 112 228 122 204 144 Z", outline=False),
    ]  # fmt: skip
    return moved_shapes(character, (1.15, 1.15), 256, 110)


def sun_and_peaks() -> list[Shape]:
    sun = Shape("prop", oval(420, 84, 46, 46))
    peaks = Shape("prop", "M-10 440 L80 330 L170 440 L250 370 L330 450 L440 330 L530 440 L530 530 L-10 530 Z")
    return [peaks, sun]


def shade_of(color: tuple[int, int, int], light: float) -> str:
    return "#" + "".join(f"{min(255, round(light * value)):02x}" for value in color)


def colors_of(palette: dict[str, tuple[int, int, int]]) -> dict[str, str]:
    """By role the color of a palette: "background", "prop", "hair", "skin", "eyes", "shirt"."""
    colors = {role: shade_of(color, 1) for role, color in palette.items()}
    colors |= {shade: shade_of(palette[role], SHADOW) for shade, role in SHADED_ROLES.items()}
    colors |= {"hair shine": shade_of(np.add(palette["hair"], 24), 1.06), "white": "#fcfafc", "shine": "#ffffff"}
    return colors | {
        "blush": shade_of(np.multiply(palette["skin"], (1, 0.86, 0.84)), 1),
        "mouth": "#c8505a",
        "ink": INK,
    }


def color_svg(shapes: list[Shape], palette: dict[str, tuple[int, int, int]]) -> str:
    colors = colors_of(palette) | {"none": "none"}
    elements = [path_element(shape, colors[shape.role], INK if shape.outline else "none") for shape in shapes]
    return document(elements, colors["background"])


def line_svg(shapes: list[Shape]) -> str:
    """Black lines on white: fills hide what lies behind, shadows and shine are left out."""
    drawn = (shape for shape in shapes if shape.outline)
    elements = [path_element(shape, "none" if shape.role == "none" else "#ffffff", "#000000") for shape in drawn]
    return document(elements, "#ffffff")


def mask_svg(shapes: list[Shape]) -> str:
    """White where the shapes are, black beside them."""
    return document([path_element(s, "none" if s.role == "none" else "#ffffff", "#ffffff") for s in shapes], "#000000")


def path_element(shape: Shape, fill: str, stroke: str) -> str:
    return (
        f'<path d="{shape.path}" fill="{fill}" stroke="{stroke}" stroke-width="{shape.width:g}" '
        'stroke-linejoin="round" stroke-linecap="round"/>'
    )


def document(elements: list[str], background: str) -> str:
    paper = f'<rect width="{WIDE}" height="{WIDE}" fill="{background}"/>'
    body = "".join(elements)
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {WIDE}">{paper}{body}</svg>'


def drawn_svg(text: str, width: int = VIEW) -> Image.Image:
    """The left upper part of a document, as wide as asked for and as high as a scene."""
    rgb = svg.rendered(svg.parse(text), WIDE)[:VIEW, :width, :3]
    return Image.fromarray(np.ascontiguousarray(rgb))


def example_pictures() -> dict[str, Image.Image]:
    """By file name, all pictures that come with the model."""
    drawing, reference = [*hills(), *long_hair()], [*sun_and_peaks(), *twintails()]
    right = beside(twintails())
    hill, *clouds = hills()
    wide_hill = moved_shapes([hill], (2, 1), 0, 0)
    return {
        "sketch.png": drawn_svg(line_svg(drawing)).convert("L"),
        "sketch-figure.png": drawn_svg(mask_svg(long_hair())).convert("L"),
        "reference.png": drawn_svg(color_svg(reference, PALETTE)),
        "reference-figure.png": drawn_svg(mask_svg(twintails())).convert("L"),
        "two-characters.png": drawn_svg(line_svg([*wide_hill, *clouds, *long_hair(), *right]), WIDE).convert("L"),
        "right-character.png": drawn_svg(mask_svg(right), WIDE).convert("L"),
        "right-reference.png": drawn_svg(color_svg(drawing, RIGHT_PALETTE)),
        "second-sketch.png": drawn_svg(line_svg(reference)).convert("L"),
        "colored.png": painted_out(drawn_svg(color_svg(drawing, RIGHT_PALETTE)), drawing, "hair"),
    }


def beside(shapes: list[Shape]) -> list[Shape]:
    """The shapes in the right half of a wide scene."""
    return [replace(shape, path=moved_path(shape.path, (1, 1), (VIEW, 0))) for shape in shapes]


def painted_out(picture: Image.Image, shapes: list[Shape], role: str) -> Image.Image:
    """A picture at half its size, transparent where the shapes of that role are, as the mask editor leaves it."""
    tones = ["#000000" if shape.role.startswith(role) else "#ffffff" for shape in shapes]
    elements = [
        path_element(shape, "none" if shape.role == "none" else tone, tone)
        for shape, tone in zip(shapes, tones, strict=True)
    ]
    opaque = drawn_svg(document(elements, "#ffffff")).convert("L")
    size = (VIEW // 2, VIEW // 2)
    half = picture.resize(size, Image.Resampling.LANCZOS)
    half.putalpha(opaque.resize(size, Image.Resampling.NEAREST))
    return half


def write_examples(folder: Path) -> None:
    for name, picture in example_pictures().items():
        picture.save(folder / name, optimize=True)

"""Vector drawings: read, framed, rendered, and taken apart into paints.

A *paint* is the fill or the stroke of one shape. Rendered once as it is and once with a number in the place of every
paint's color, a drawing says for each pixel which paint is seen there: exact edges and regions, gradients or not.
"""

import copy
import io
import re
from dataclasses import dataclass

import numpy as np
from PIL import Image

SHAPES = {"path", "rect", "circle", "ellipse", "polygon", "polyline", "line"}
DEFINITIONS = {
    "mask", "clipPath", "pattern", "marker", "filter", "linearGradient", "radialGradient", "style", "metadata"
}  # fmt: skip
INHERITED = ("fill", "stroke", "fill-opacity", "stroke-opacity", "stroke-width", "color")
GEOMETRY = (
    "stroke-width", "stroke-linecap", "stroke-linejoin", "stroke-miterlimit", "stroke-dasharray", "fill-rule",
    "clip-rule", "clip-path", "mask", "display", "visibility", "transform",
)  # fmt: skip
APPEARANCE = (
    "style", "class", "opacity", "filter", "fill-opacity", "stroke-opacity", "mix-blend-mode", "shape-rendering"
)  # fmt: skip
LEAST_OPACITY = 0.5  # what lets more through is shading on what lies below it
SPREAD = 7  # numbers lie this far apart as colors: a blend of two is seldom a number itself
FINDING_SIDE = 128  # pixels of the rendering that finds where a drawing is

Box = tuple[float, float, float, float]  # a square: left, top, side in the drawing's units, turn in degrees


class Unusable(ValueError):
    """This drawing makes no picture: broken, empty, or a photograph in disguise."""


@dataclass(frozen=True)
class Paints:
    """`number` [S,S]: the paint that is seen, 0 is none; `source` and `stroke` tell of paint n at n - 1.

    `source` is the paint's color as the file has it, `stroke` whether it is a stroke.
    """

    number: np.ndarray
    source: list[str]
    stroke: list[bool]


def parse(text: str):
    """The root element of an SVG; raises Unusable where there is none or it embeds pictures."""
    from lxml import etree

    parser = etree.XMLParser(recover=True, resolve_entities=False, no_network=True)
    try:
        root = etree.fromstring(text.encode(), parser)
    except etree.XMLSyntaxError as error:
        raise Unusable(str(error)) from error
    if root is None or local_name(root) != "svg":
        raise Unusable("no SVG")
    if any(local_name(element) in ("image", "foreignObject") for element in root.iter()):
        raise Unusable("embeds a picture")
    return root


def local_name(element) -> str:
    """A tag without its namespace; empty for comments."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def rendered(root, side: int, crisp: bool = False, background: tuple[float, float, float] | None = None) -> np.ndarray:
    """RGBA [side,side,4] uint8, `crisp` without smoothed edges, before a `background` in 0..255 if given.

    Raises Unusable where the renderer gives up.
    """
    import resvg_py
    from lxml import etree

    try:
        png = resvg_py.svg_to_bytes(
            svg_string=etree.tostring(root, encoding="unicode"),
            width=side,
            height=side,
            skip_system_fonts=True,
            background=background and "#" + "".join(f"{round(value):02x}" for value in background),
            shape_rendering="crisp_edges" if crisp else "geometric_precision",
        )
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of the renderer is no Exception
        raise Unusable(str(error)) from error
    return np.asarray(Image.open(io.BytesIO(bytes(png))).convert("RGBA"))


def view_box(root) -> tuple[float, float, float, float]:
    """Left, top, width, height of the canvas."""
    numbers = [float(n) for n in re.findall(r"-?[\d.]+(?:e-?\d+)?", root.get("viewBox", ""))]
    if len(numbers) == 4 and min(numbers[2:]) > 0:
        return tuple(numbers)
    sizes = (re.match(r"[\d.]+", root.get(key, "")) for key in ("width", "height"))
    width, height = (float(size.group()) if size else 0.0 for size in sizes)
    return 0.0, 0.0, width or 1000.0, height or 1000.0


def framed(root, box: Box):
    """A copy of the drawing that shows what is in `box`."""
    from lxml import etree

    left, top, side, turn = box
    copied = copy.deepcopy(root)
    for key in ("width", "height", "preserveAspectRatio", "overflow", "x", "y"):
        copied.attrib.pop(key, None)
    copied.set("viewBox", f"{left:.6g} {top:.6g} {side:.6g} {side:.6g}")
    copied.set("width", "100")
    copied.set("height", "100")
    if turn:
        group = etree.Element(root.tag[: -len("svg")] + "g")
        group.set("transform", f"rotate({turn:.5g} {left + side / 2:.6g} {top + side / 2:.6g})")
        group.extend(list(copied))
        copied.append(group)
    return copied


def extent(root) -> tuple[float, float, float, float]:
    """Left, top, width, height of what is drawn, on the canvas or up to its own size beside it."""
    left, top, width, height = view_box(root)
    side = max(width, height)
    left, top, side = left - side, top - side, 3 * side
    for _ in range(2):  # the second look is close
        opaque = rendered(framed(root, (left, top, side, 0.0)), FINDING_SIDE)[..., 3] > 8
        if not opaque.any():
            raise Unusable("nothing is drawn")
        pixel = side / FINDING_SIDE
        rows, columns = np.flatnonzero(opaque.any(1)), np.flatnonzero(opaque.any(0))
        left, top = left + columns[0] * pixel, top + rows[0] * pixel
        width, height = ((run[-1] + 1 - run[0]) * pixel for run in (columns, rows))
        found = left, top, width, height
        margin = 0.05 * max(width, height)
        left, top, side = left - margin, top - margin, max(width, height) + 2 * margin
    return found


def paints(root, side: int) -> Paints:
    """Which paint is seen at each of `side` x `side` pixels; shading that lets most through is left out."""
    numbered = copy.deepcopy(root)
    source: list[str] = []
    stroke: list[bool] = []
    rules = class_rules(numbered)

    def painted(style: dict[str, str], key: str, default: str, opacity: float) -> str:
        color = style.get(key, default).strip()
        if color in ("none", "transparent") or opacity * fraction(style.get(f"{key}-opacity")) < LEAST_OPACITY:
            return "none"
        source.append(color)
        stroke.append(key == "stroke")
        return f"#{len(source) * SPREAD:06x}"

    def walk(element, inherited: dict[str, str], opacity: float) -> None:
        if not isinstance(element.tag, str) or local_name(element) in DEFINITIONS:
            return
        own = declared(element, rules)
        style = inherited | {key: own[key] for key in INHERITED if key in own}
        opacity *= fraction(own.get("opacity"))
        for key in APPEARANCE:
            element.attrib.pop(key, None)
        for key in GEOMETRY:
            if own.get(key, "inherit") != "inherit":
                element.set(key, own[key])
        if local_name(element) in SHAPES:
            element.set("fill", painted(style, "fill", "#000000", opacity))
            element.set("stroke", painted(style, "stroke", "none", opacity))
            if "stroke-width" in style:
                element.set("stroke-width", style["stroke-width"])
        for child in element:
            walk(child, style, opacity)

    walk(numbered, {}, 1.0)
    return Paints(numbers(rendered(numbered, side, crisp=True), len(source)), source, stroke)


def numbers(rgba: np.ndarray, count: int) -> np.ndarray:
    """The paints' numbers [S,S] out of a rendering in numbers; a blended edge takes the nearest plain one."""
    from scipy import ndimage

    value = rgba[..., :3].astype(np.int64) @ (1 << 16, 1 << 8, 1)
    blank = rgba[..., 3] <= 127
    number = np.where(blank, 0, value // SPREAD)
    blended = ~blank & ((value % SPREAD != 0) | (number > count))
    if blended.any():  # clipped edges are smooth whatever the renderer is told
        if blended.all():
            raise Unusable("no plain paint")
        nearest = ndimage.distance_transform_edt(blended, return_distances=False, return_indices=True)
        number = number[tuple(nearest)]
    return number


def class_rules(root) -> dict[str, dict[str, str]]:
    """What the <style> elements declare for single classes; other selectors are not read."""
    text = "".join(element.text or "" for element in root.iter() if local_name(element) == "style")
    rules: dict[str, dict[str, str]] = {}
    for selectors, body in re.findall(r"([^{}]+)\{([^{}]*)\}", text):
        for selector in selectors.split(","):
            if match := re.fullmatch(r"\s*\.([\w-]+)\s*", selector):
                rules.setdefault(match.group(1), {}).update(declarations(body))
    return rules


def declarations(text: str) -> dict[str, str]:
    parts = (part.split(":", 1) for part in text.split(";") if ":" in part)
    return {key.strip(): value.replace("!important", "").strip() for key, value in parts}


def declared(element, rules: dict[str, dict[str, str]]) -> dict[str, str]:
    """An element's own properties; a class stands above an attribute, `style` above both."""
    own = {str(key): str(value) for key, value in element.attrib.items() if not str(key).startswith("{")}
    for name in own.get("class", "").split():
        own |= rules.get(name, {})
    return own | declarations(own.get("style", ""))


def fraction(text: str | None) -> float:
    """An opacity, "0.5" or "50%"; 1 where it is not said or not a number."""
    try:
        return float(text.rstrip("%")) / (100 if text.endswith("%") else 1) if text else 1.0
    except ValueError:
        return 1.0

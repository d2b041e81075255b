"""Procedural figures: a picture, its line drawing, a map of its regions, and the words for what it shows.

A *palette* names the colors and a *pose* says everything about shape. Two pictures that share a palette but not
a pose are a training pair: the reference tells the colors, the sketch tells the shapes.
"""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

SUPERSAMPLING = 2
LINE_UNIT = 1 / 128  # of the picture's side

BACKGROUND, HAIR, SKIN, EYES, SHIRT, BOTTOM, PROP, DETAIL, PUPIL = range(9)
REGIONS = {"background": BACKGROUND, "hair": HAIR, "skin": SKIN, "eyes": EYES, "shirt": SHIRT, "bottom": BOTTOM}

CLOTH = {
    "red": (214, 40, 44), "blue": (50, 90, 210), "green": (50, 150, 70), "yellow": (250, 220, 60),
    "white": (246, 246, 246), "black": (46, 46, 54), "pink": (250, 150, 190), "purple": (140, 70, 190),
    "orange": (244, 140, 40), "brown": (130, 84, 50), "gray": (150, 150, 156),
}  # fmt: skip
COLORS = {
    "background": {
        "white": (252, 252, 252), "pink": (255, 214, 228), "gray": (190, 190, 196), "green": (172, 222, 160),
        "blue": (150, 206, 250), "night": (30, 32, 84), "sunset": (252, 160, 96), "yellow": (252, 240, 170),
    },
    "hair": {
        "blonde": (248, 214, 106), "brown": (122, 74, 40), "black": (44, 40, 50), "red": (200, 44, 38),
        "pink": (246, 148, 190), "blue": (70, 110, 220), "green": (70, 170, 90), "purple": (136, 76, 180),
        "white": (240, 240, 244), "orange": (240, 140, 40),
    },
    "skin": {"pale": (255, 228, 208), "tan": (224, 172, 124), "dark": (140, 90, 60)},
    "eyes": {"blue": (40, 100, 230), "green": (30, 160, 70), "brown": (110, 60, 20), "red": (220, 30, 40),
             "purple": (130, 50, 190)},
    "shirt": CLOTH,
    "bottom": CLOTH,
}  # fmt: skip
PROP_COLORS = {
    "white": (250, 210, 80), "pink": (250, 120, 160), "gray": (110, 110, 120), "green": (60, 140, 80),
    "blue": (255, 255, 255), "night": (250, 240, 180), "sunset": (230, 60, 50), "yellow": (240, 150, 60),
}  # fmt: skip
JITTER = 9  # how far a picture's color may lie from the named one, per channel of 255

HAIR_STYLES = ("long", "short", "twintails")
BOTTOMS = ("skirt", "trousers")
PROPS = ("nothing", "sun", "stars", "mountains", "clouds")


@dataclass(frozen=True)
class Palette:
    """Per region of `REGIONS`: the color's name, and its RGB in 0..255 (near the named one)."""

    names: dict[str, str]
    rgb: dict[str, tuple[int, int, int]]


@dataclass(frozen=True)
class Pose:
    """Shape without color; lengths in units of the head's radius, angles in radians."""

    hair: str
    bangs: int
    bottom: str
    prop: str
    prop_seed: int
    view: int  # 0 whole figure, 1 to the waist, 2 portrait
    zoom: float
    shift: tuple[float, float]
    tilt: float
    stretch: float
    mirrored: bool
    arms: tuple[float, float]
    legs: float
    sleeves: float
    hair_length: float
    hem: float
    gaze: float
    mouth: int
    sway: tuple[float, float, float, float]


@dataclass(frozen=True)
class Style:
    """How a figure is drawn. Widths in 1/128 of the picture's side; `ink` RGB and `pencil` in 0..255.

    `looseness`: how far, in the same unit, the sketch's lines stray from the picture's.
    """

    line: float
    sketch_line: float
    ink: tuple[int, int, int]
    pencil: int
    looseness: float
    looseness_seed: int


@dataclass(frozen=True)
class Figure:
    """`color` [S,S,3] and `sketch` [S,S] (black lines on white) uint8; `regions` [S,S] uint8; the words."""

    color: np.ndarray
    sketch: np.ndarray
    regions: np.ndarray
    words: dict[str, str]  # noun -> adjective of what can be seen, e.g. {"hair": "blonde", "skirt": "red"}


def random_palette(rng: np.random.Generator) -> Palette:
    names = {region: str(rng.choice(list(table))) for region, table in COLORS.items()}
    return Palette(names, {region: jittered(COLORS[region][name], rng) for region, name in names.items()})


def recolored(palette: Palette, rng: np.random.Generator) -> Palette:
    """`palette` with another color for one region."""
    region = str(rng.choice(list(REGIONS)))
    name = str(rng.choice([name for name in COLORS[region] if name != palette.names[region]]))
    changed = jittered(COLORS[region][name], rng)
    return Palette(palette.names | {region: name}, palette.rgb | {region: changed})


def jittered(rgb: tuple[int, int, int], rng: np.random.Generator) -> tuple[int, int, int]:
    return tuple(int(v) for v in np.clip(np.add(rgb, rng.integers(-JITTER, JITTER + 1, 3)), 0, 255))


def random_pose(rng: np.random.Generator) -> Pose:
    return Pose(
        hair=str(rng.choice(HAIR_STYLES)),
        bangs=int(rng.integers(3)),
        bottom=str(rng.choice(BOTTOMS)),
        prop=str(rng.choice(PROPS)),
        prop_seed=int(rng.integers(1 << 30)),
        view=int(rng.choice(3, p=[0.45, 0.3, 0.25])),
        zoom=float(rng.uniform(0.9, 1.12)),
        shift=(float(rng.uniform(-0.13, 0.13)), float(rng.uniform(-0.04, 0.04))),
        tilt=float(rng.uniform(-0.2, 0.2)),
        stretch=float(rng.uniform(0.92, 1.1)),
        mirrored=bool(rng.integers(2)),
        arms=tuple(rng.uniform(0.15, 1.5, 2).tolist()),
        legs=float(rng.uniform(0.0, 0.3)),
        sleeves=float(rng.uniform(0.35, 1.0)),
        hair_length=float(rng.uniform(0.7, 1.3)),
        hem=float(rng.uniform(0.85, 1.25)),
        gaze=float(rng.uniform(-0.12, 0.12)),
        mouth=int(rng.integers(3)),
        sway=tuple(rng.uniform(-1, 1, 4).tolist()),
    )


def random_style(rng: np.random.Generator) -> Style:
    return Style(
        line=float(rng.uniform(0.7, 2.5)),
        sketch_line=float(rng.uniform(0.7, 2.5)),
        ink=tuple(rng.integers(5, 60, 3).tolist()),
        pencil=int(rng.integers(0, 110)),
        looseness=float(rng.uniform(0, 0.8)),
        looseness_seed=int(rng.integers(1 << 30)),
    )


def smooth(points, steps: int = 5) -> np.ndarray:
    """A closed Catmull-Rom curve through `points` [N,2], as a polygon [N*steps,2]."""
    p1 = np.asarray(points, float)
    p0, p2, p3 = np.roll(p1, 1, 0), np.roll(p1, -1, 0), np.roll(p1, -2, 0)
    t = np.linspace(0, 1, steps, endpoint=False)[:, None, None]
    curve = 2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    return (0.5 * curve).transpose(1, 0, 2).reshape(-1, 2)


def ellipse(x: float, y: float, rx: float, ry: float, start: float = 0.0, end: float = 2 * math.pi) -> np.ndarray:
    angle = np.linspace(start, end, 24, endpoint=end - start < 2 * math.pi)
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], 1)


def limb(x: float, y: float, angle: float, length: float, width: float) -> np.ndarray:
    """A rounded limb from (x, y), hanging down at angle 0."""
    along, across = np.array([math.sin(angle), math.cos(angle)]), np.array([math.cos(angle), -math.sin(angle)])
    start, end = np.array([x, y]), np.array([x, y]) + along * length
    tip = end + along * width * 0.7
    return np.stack([start + across * width, end + across * width * 0.8, tip, end - across * width * 0.8,
                     start - across * width])  # fmt: skip


def star(x: float, y: float, radius: float) -> np.ndarray:
    angle = np.arange(10) * math.pi / 5 - math.pi / 2
    return (
        np.array([x, y])
        + np.stack([np.cos(angle), np.sin(angle)], 1) * np.where(np.arange(10) % 2, 0.45, 1)[:, None] * radius
    )


def prop_shapes(pose: Pose) -> list[np.ndarray]:
    """What stands behind the figure, in picture units (0..1)."""
    rng = np.random.default_rng(pose.prop_seed)
    if pose.prop == "sun":
        radius = rng.uniform(0.08, 0.14)
        return [ellipse(rng.uniform(0.12, 0.88), rng.uniform(0.1, 0.3), radius, radius)]
    if pose.prop == "stars":
        return [star(rng.uniform(0.05, 0.95), rng.uniform(0.05, 0.7), rng.uniform(0.05, 0.09)) for _ in range(4)]
    if pose.prop == "mountains":
        peaks = [(rng.uniform(-0.1, 1.1), rng.uniform(0.3, 0.5), rng.uniform(0.3, 0.6)) for _ in range(2)]
        return [np.array([(x - w, 1.1), (x, 1 - h), (x + w, 1.1)]) for x, w, h in peaks]
    if pose.prop == "clouds":
        angle = np.linspace(0, 2 * math.pi, 32, endpoint=False)
        puff = (1 + 0.25 * np.abs(np.sin(2.5 * angle)))[:, None]
        ring = np.stack([0.17 * np.cos(angle), 0.07 * np.sin(angle)], 1) * puff
        return [ring + rng.uniform((0.1, 0.08), (0.9, 0.35)) for _ in range(2)]
    return []


def body_shapes(pose: Pose) -> list[tuple[int, np.ndarray]]:
    """(region, polygon) from back to front; the head's center is (0, 0), its radius about 1, down is +y."""
    shapes: list[tuple[int, np.ndarray]] = []

    def add(region: int, points) -> None:
        shapes.append((region, np.asarray(points, float)))

    shoulder = 0.95
    waist = shoulder + 1.1
    hem = waist + 1.05 * pose.hem
    sides = (-1, 1)

    if pose.hair == "long":
        end = 1.2 + pose.hair_length
        add(HAIR, smooth([(-1.05, -0.3), (-1.25, 0.6), (-1.3, end), (-0.8, end + 0.2), (0, end), (0.8, end + 0.2),
                          (1.3, end), (1.25, 0.6), (1.05, -0.3), (0.6, -1), (-0.6, -1)]))  # fmt: skip
    elif pose.hair == "twintails":
        end = 1.1 + 0.9 * pose.hair_length
        for side in sides:
            tail = [(0.9, -0.5), (1.5, -0.6), (1.95, 0.2), (1.9, end * 0.8), (1.6, end + 0.25), (1.4, end * 0.7),
                    (1.2, 0.2)]  # fmt: skip
            add(HAIR, smooth([(side * x, y) for x, y in tail]))
        add(HAIR, ellipse(0, -0.08, 1.12, 1.1))
    else:
        end = 0.75 * pose.hair_length + 0.1
        add(HAIR, np.concatenate([ellipse(0, -0.05, 1.14, 1.12, math.pi * 0.93, math.pi * 2.07),
                                  [(0.98, end), (0.6, 0.6), (-0.6, 0.6), (-0.98, end)]]))  # fmt: skip

    for side in sides:
        if pose.bottom == "skirt":
            angle = side * pose.legs * 0.6
            add(SKIN, limb(side * 0.3, hem - 0.2, angle, 1.1, 0.19))
            add(DETAIL, ellipse(side * 0.38 + 1.1 * math.sin(angle), hem + 0.98, 0.27, 0.17))
        else:
            add(DETAIL, ellipse(side * 0.35 + 1.9 * math.sin(side * pose.legs * 0.7), waist + 1.95, 0.3, 0.17))
            add(BOTTOM, limb(side * 0.28, waist - 0.05, side * pose.legs * 0.7, 1.85, 0.3))
    if pose.bottom == "skirt":
        wide = 0.95 + 0.35 * (pose.hem - 0.8)
        add(BOTTOM, [(-0.5, waist - 0.1), (0.5, waist - 0.1), (wide, hem), (wide * 0.5, hem + 0.1), (0, hem),
                     (-wide * 0.5, hem + 0.1), (-wide, hem)])  # fmt: skip
    else:
        add(BOTTOM, [(-0.56, waist - 0.12), (0.56, waist - 0.12), (0.55, waist + 0.25), (-0.55, waist + 0.25)])

    for side, arm in zip(sides, pose.arms, strict=True):
        add(SKIN, limb(side * 0.5, shoulder + 0.2, side * arm, 1.15, 0.15))
    add(SKIN, [(-0.2, 0.7), (0.2, 0.7), (0.24, shoulder + 0.15), (-0.24, shoulder + 0.15)])
    add(SHIRT, [(-0.28, shoulder - 0.02), (0, shoulder + 0.14), (0.28, shoulder - 0.02), (0.68, shoulder + 0.16),
                (0.52, waist), (-0.52, waist), (-0.68, shoulder + 0.16)])  # fmt: skip
    for side, arm in zip(sides, pose.arms, strict=True):
        add(SHIRT, limb(side * 0.52, shoulder + 0.2, side * arm, pose.sleeves, 0.23))

    jaw = [(0.9, 0.35), (0.64, 0.76), (0.16, 0.98), (-0.16, 0.98), (-0.64, 0.76), (-0.9, 0.35)]
    add(SKIN, np.concatenate([ellipse(0, 0, 0.93, 0.93, math.pi, 2 * math.pi), jaw]))
    for side in sides:
        x = side * 0.4 + pose.gaze
        add(DETAIL, ellipse(x, 0.22, 0.24, 0.3))
        add(EYES, ellipse(x, 0.24, 0.18, 0.26))
        add(PUPIL, ellipse(x, 0.28, 0.08, 0.13))
    add(DETAIL, ellipse(pose.gaze, 0.68, (0.12, 0.18, 0.08)[pose.mouth], (0.03, 0.06, 0.08)[pose.mouth]))

    crown = ellipse(0, -0.08, 1.1, 1.08, math.pi * 0.98, math.pi * 2.02)
    fringes = (
        [(1.02, 0.4), (0.82, 0.3), (0.75, -0.1), (0.45, -0.28), (0.2, -0.02), (-0.1, -0.3), (-0.4, -0.02),
         (-0.7, -0.2), (-0.82, 0.3), (-1.02, 0.4)],
        [(1.0, 0.5), (0.8, 0.2), (0.3, -0.1), (-0.5, -0.45), (-0.8, 0.2), (-1.0, 0.5)],
        [(1.02, 0.5), (0.84, 0.1), (0.8, -0.12), (-0.8, -0.12), (-0.84, 0.1), (-1.02, 0.5)],
    )  # fmt: skip
    add(HAIR, np.concatenate([crown, fringes[pose.bangs]]))
    return shapes


def placed(points: np.ndarray, pose: Pose) -> np.ndarray:
    """Head units to picture units (0..1): swayed, mirrored, tilted, framed."""
    scale, head = ((0.15, 0.36), (0.23, 0.46), (0.3, 0.52))[pose.view]
    x, y = points[:, 0] * pose.stretch * (-1 if pose.mirrored else 1), points[:, 1]
    a, b, c, d = pose.sway
    x, y = x + 0.07 * a * np.sin(1.5 * y + 3 * b), y + 0.07 * c * np.sin(1.7 * x + 3 * d)
    cos, sin = math.cos(pose.tilt), math.sin(pose.tilt)
    turned = np.stack([x * cos - y * sin, x * sin + y * cos], 1) * scale * pose.zoom
    return turned + np.array([0.5 + pose.shift[0], head + pose.shift[1]])


def visible_words(palette: Palette, pose: Pose, regions: np.ndarray) -> dict[str, str]:
    """The noun and adjective of each region that covers enough of the picture to be seen."""
    share = np.bincount(regions.ravel(), minlength=PUPIL + 1) / regions.size
    least = {"background": 0.0, "hair": 0.004, "skin": 0.004, "eyes": 0.0008, "shirt": 0.004, "bottom": 0.006}
    nouns = {region: region for region in REGIONS} | {"bottom": pose.bottom}
    return {nouns[r]: palette.names[r] for r, index in REGIONS.items() if share[index] >= least[r]}


def render(palette: Palette, pose: Pose, style: Style, size: int) -> Figure:
    """Draws the figure at `size` pixels square."""
    large = size * SUPERSAMPLING
    color = Image.new("RGB", (large, large), palette.rgb["background"])
    sketch = Image.new("L", (large, large), 255)
    regions = Image.new("L", (large, large), BACKGROUND)
    draw_color, draw_sketch, draw_regions = (ImageDraw.Draw(image) for image in (color, sketch, regions))
    fills = {index: palette.rgb[region] for region, index in REGIONS.items()}
    fills |= {PROP: PROP_COLORS[palette.names["background"]], DETAIL: (252, 250, 252), PUPIL: style.ink}
    shapes = [(PROP, points) for points in prop_shapes(pose)]
    shapes += [(region, placed(points, pose)) for region, points in body_shapes(pose)]
    width, sketch_width = (max(1, round(w * LINE_UNIT * large)) for w in (style.line, style.sketch_line))
    rng = np.random.default_rng(style.looseness_seed)
    for region, points in shapes:
        polygon = corners(points * large)
        draw_color.polygon(polygon, fill=fills[region])
        draw_color.line(polygon + polygon[:2], fill=style.ink, width=width, joint="curve")
        draw_regions.polygon(polygon, fill=region)
        strayed = corners((points + rng.uniform(-1, 1, points.shape) * style.looseness * LINE_UNIT) * large)
        draw_sketch.polygon(strayed, fill=255)
        draw_sketch.line(strayed + strayed[:2], fill=style.pencil, width=sketch_width, joint="curve")
    region_map = np.asarray(regions)[::SUPERSAMPLING, ::SUPERSAMPLING]
    return Figure(
        color=np.asarray(color.reduce(SUPERSAMPLING)),
        sketch=np.asarray(sketch.reduce(SUPERSAMPLING)),
        regions=region_map,
        words=visible_words(palette, pose, region_map),
    )


def corners(points: np.ndarray) -> list[tuple[float, float]]:
    return [tuple(p) for p in points.tolist()]

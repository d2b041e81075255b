"""What comes after coloring: the drawing's own lines over the color, flat colors, palettes, layered files."""

from comfy_api.latest import io

from ..colorize_core.host.layer_files import WRITERS, save_layers
from ..colorize_core.images import masked
from ..colorize_core.layers.flats import flat_layers
from ..colorize_core.layers.lines import line_layers, mostly_ink
from ..colorize_core.layers.palette import MOST_COLORS, colors_from_hex, one_color, palette_of, swatches
from .notices import notice
from .sockets import CATEGORY, Palette

MOSTLY_DARK = "Sketch mostly dark. Dark lines on light paper: Invert Image."

IMAGE = io.Image.Input(
    "image",
    tooltip="The colored picture, as VAE Decode gives it or upscaled. Prepare Sketch's margins are cut off.",
)
SKETCH_INPUT = io.Image.Input(
    "sketch",
    tooltip="The drawing at its own size, as it was given to Prepare Sketch: dark lines on light paper. For light "
    "lines on dark paper put Invert Image between.",
)
DRAWING_MASK_INPUT = io.Mask.Input(
    "mask",
    optional=True,
    tooltip="What it covers of the drawing counts as paper. Connect Load Image's mask for a drawing on a transparent "
    "ground.",
)


def ink_of(line_color):
    return one_color(line_color, "line_color") if line_color.strip() else None


def drawing_of(sketch, mask, node):
    drawing = masked(sketch, mask, "sketch")
    notice(node, MOSTLY_DARK if mostly_ink(drawing) else "")
    return drawing


class LineLayer(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ColorizeDiffusion_LineLayer",
            display_name="Line Layer",
            category=CATEGORY,
            description="Puts the drawing's own lines, at its own size, over the color, which ends at them.",
            search_aliases=[
                "line art overlay",
                "multiply lines",
                "remove lines",
                "upscale to line art",
                "線画",
                "线稿",
            ],
            is_experimental=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                IMAGE,
                SKETCH_INPUT,
                DRAWING_MASK_INPUT,
                io.String.Input(
                    "line_color",
                    default="",
                    tooltip="A color for the lines as #rrggbb. Empty: the drawing's own.",
                ),
                io.Float.Input(
                    "line_opacity",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How much of the lines is seen: 1 as drawn, 0 none.",
                ),
            ],
            outputs=[
                io.Image.Output("image", tooltip="The color under the lines, at the drawing's size."),
                io.Image.Output("color", tooltip="The color alone; under the lines it is that of the areas beside."),
                io.Mask.Output("lines", tooltip="The lines alone: 1 is full ink."),
            ],
        )

    @classmethod
    def execute(cls, image, sketch, line_color, line_opacity, mask=None):
        return io.NodeOutput(*line_layers(image, drawing_of(sketch, mask, cls), ink_of(line_color), line_opacity))


class FlatColors(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ColorizeDiffusion_FlatColors",
            display_name="Flat Colors",
            category=CATEGORY,
            description="Makes flat areas of one color each, at the drawing's size, from its lines and the colored "
            "picture.",
            search_aliases=[
                "flatting",
                "flats",
                "fill areas",
                "close gaps",
                "base colors",
                "cel colors",
                "anime",
                "平塗り",
                "平涂",
                "铺色",
            ],
            is_experimental=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                IMAGE,
                SKETCH_INPUT,
                DRAWING_MASK_INPUT,
                io.Int.Input(
                    "gap",
                    default=-1,
                    min=-1,
                    max=512,
                    tooltip="How wide a gap in a line may be and still part two areas, in pixels of the drawing. -1: "
                    "three times the width of its lines. 0: gaps are as open as any paper.",
                ),
                io.Float.Input(
                    "detail",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How small a patch of color survives where no line bounds it: higher for more areas.",
                ),
                Palette.Input(
                    "palette",
                    optional=True,
                    tooltip="The flats use exactly its colors, each area the one that looks nearest. Without it they "
                    "are the areas' own.",
                ),
            ],
            outputs=[
                io.Image.Output("flats", tooltip="The flat colors alone, hard-edged, without lines."),
                io.Image.Output("image", tooltip="The flat colors under the drawing's own lines."),
                Palette.Output("palette", tooltip="The colors of the flats and how much of the picture each covers."),
            ],
        )

    @classmethod
    def execute(cls, image, sketch, gap, detail, mask=None, palette=None):
        return io.NodeOutput(*flat_layers(image, drawing_of(sketch, mask, cls), gap, detail, palette))


class PaletteNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ColorizeDiffusion_Palette",
            display_name="Palette",
            category=CATEGORY,
            description="Reads the main colors of a picture, or takes those that you write, for Flat Colors.",
            search_aliases=[
                "color palette",
                "swatches",
                "hex colors",
                "color picker",
                "dominant colors",
                "配色",
                "调色板",
            ],
            is_experimental=True,
            inputs=[
                io.Image.Input(
                    "image", optional=True, tooltip="The picture to read colors from, such as the reference."
                ),
                io.Mask.Input("mask", optional=True, tooltip="What it covers of the picture is not looked at."),
                io.Int.Input(
                    "colors",
                    default=8,
                    min=1,
                    max=MOST_COLORS,
                    tooltip="How many colors at most, those of hex among them. Colors that look the same are one.",
                ),
                io.String.Input(
                    "hex",
                    default="",
                    multiline=True,
                    tooltip="Colors as #rrggbb, parted by spaces, commas or lines. They come first, and stay exact; "
                    "without an image they are the palette.",
                ),
            ],
            outputs=[
                Palette.Output("palette", tooltip="The colors, for Flat Colors."),
                io.Image.Output("image", tooltip="The colors as swatches, with hex code and share of the picture."),
            ],
        )

    @classmethod
    def execute(cls, colors, hex, image=None, mask=None):
        image = None if image is None else masked(image, mask, "image")
        palette = palette_of(image, colors, colors_from_hex(hex, "hex"))
        return io.NodeOutput(palette, swatches(palette))


class SaveLayers(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ColorizeDiffusion_SaveLayers",
            display_name="Save Layers",
            category=CATEGORY,
            description="Saves lines, flats, color and reference as layers of one file for a painting program, and "
            "beside it the merged picture, which carries the workflow.",
            search_aliases=["psd", "photoshop", "clip studio", "krita", "openraster", "export layers"],
            is_experimental=True,
            is_output_node=True,
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo, io.Hidden.unique_id],
            inputs=[
                io.String.Input(
                    "filename_prefix",
                    default="layers/ColorizeDiffusion",
                    tooltip="Folder and beginning of the file names, as in Save Image.",
                ),
                io.Combo.Input(
                    "format",
                    options=list(WRITERS),
                    default="psd",
                    tooltip="psd for Photoshop, Clip Studio and most others; ora for Krita, GIMP and MyPaint.",
                ),
                SKETCH_INPUT,
                io.Image.Input("color", tooltip="The color layer: Line Layer's color, or any colored picture."),
                io.Boolean.Input(
                    "split_flats",
                    default=False,
                    tooltip="Give each color of flats a layer of its own, named by its hex code, in a group.",
                ),
                io.Image.Input("flats", optional=True, tooltip="Flat Colors' flats, over the color layer."),
                io.Mask.Input(
                    "lines",
                    optional=True,
                    tooltip="Line Layer's lines, for a transparent layer of lines in their own color. Without it the "
                    "line layer is the drawing itself, multiplied.",
                ),
                io.Image.Input("reference", optional=True, tooltip="The reference picture, as a hidden layer."),
                DRAWING_MASK_INPUT,
                io.String.Input(
                    "line_color",
                    default="",
                    optional=True,
                    advanced=True,
                    tooltip="A color for the line layer as #rrggbb, as in Line Layer. Empty: the drawing's own.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        filename_prefix,
        format,
        sketch,
        color,
        split_flats,
        flats=None,
        lines=None,
        reference=None,
        mask=None,
        line_color="",
    ):
        parts = {"flats": flats, "lines": lines, "reference": reference, "ink": ink_of(line_color)}
        drawing = drawing_of(sketch, mask, cls)
        return io.NodeOutput(ui=save_layers(cls, filename_prefix, format, drawing, color, split_flats, **parts))


NODES = [LineLayer, FlatColors, PaletteNode, SaveLayers]

import comfy.model_management
import torch
from comfy_api.latest import io

from ..colorize_core.guidance import parse_factors
from ..colorize_core.images import masked
from ..colorize_core.sketch import (
    POLARITIES,
    crop_to,
    has_lines,
    is_mostly_white,
    place,
    sketch_from_image,
    white_on_black,
)
from .notices import notice
from .sockets import CATEGORY, Sketch

NO_LINES = "No lines in image. Transparent ground? Connect its mask."  # as short as fits on a node
MOSTLY_WHITE = "Mostly white. Put Prepare Sketch before: white lines on black."


class PrepareSketch(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        size = {"min": 64, "max": 8192, "step": 32, "default": 512}
        return io.Schema(
            node_id="ColorizeDiffusion_PrepareSketch",
            display_name="Prepare Sketch",
            category=CATEGORY,
            description="Turns a drawing into white lines on black and fits it into a picture of the size to be made.",
            search_aliases=["line art", "lineart", "invert lines", "manga", "colorize sketch", "线稿", "線稿", "線画"],
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Image.Input("image", tooltip="The drawing."),
                io.Int.Input("width", **size, tooltip="Width of the picture to be made, in pixels."),
                io.Int.Input("height", **size, tooltip="Height of the picture to be made, in pixels."),
                io.Combo.Input(
                    "polarity",
                    options=POLARITIES,
                    default="auto",
                    tooltip="How the lines are drawn. auto takes the middle tone for paper, as most of a drawing is.",
                ),
                io.Int.Input(
                    "batch_size",
                    default=0,
                    min=0,
                    max=4096,
                    tooltip="How many pictures to make at once; 0: as many as there are drawings. Fewer than that "
                    "repeat, more are left out.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="What it covers counts as paper. Connect Load Image's mask for a drawing on a transparent "
                    "ground.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    "sketch_image",
                    tooltip="White lines on black, centered; aspect ratio kept. Crop to Sketch undoes the padding.",
                ),
                io.Latent.Output("latent", tooltip="An empty latent of the same size, to sample into."),
            ],
        )

    @classmethod
    def execute(cls, image, width, height, polarity, batch_size, mask=None):
        lines = white_on_black(masked(image, mask, "image"), polarity)
        notice(cls, "" if has_lines(lines).all() else NO_LINES)
        lines = place(lines, height, width)
        samples = torch.zeros(
            [batch_size or len(lines), 4, height // 8, width // 8],
            device=comfy.model_management.intermediate_device(),
            dtype=comfy.model_management.intermediate_dtype(),
        )
        return io.NodeOutput(lines.unsqueeze(-1).repeat(1, 1, 1, 3), {"samples": samples, "downscale_ratio_spacial": 8})


class EncodeSketch(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ColorizeDiffusion_EncodeSketch",
            display_name="Encode Sketch",
            category=CATEGORY,
            description="Makes a prepared sketch the one that the colors will follow.",
            search_aliases=["line art", "sketch strength", "线稿", "線稿", "線画"],
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Image.Input(
                    "sketch_image", tooltip="White lines on black, from Prepare Sketch or a line extractor."
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=3.0,
                    step=0.05,
                    tooltip="How closely the picture follows the lines: 1 as trained, 0 ignores them.",
                ),
                io.String.Input(
                    "per_scale",
                    default="",
                    optional=True,
                    advanced=True,
                    tooltip="A factor for each map that the model makes of the sketch, from fine to coarse, beside "
                    "strength: 4 numbers for XL, 5 for the other versions. Empty: not used.",
                ),
            ],
            outputs=[Sketch.Output("sketch", tooltip="The sketch and its strength, for Colorize.")],
        )

    @classmethod
    def execute(cls, sketch_image, strength, per_scale=""):
        sketch = sketch_from_image(sketch_image, strength, parse_factors(per_scale, "per_scale"))
        notice(cls, MOSTLY_WHITE if is_mostly_white(sketch) else "")
        return io.NodeOutput(sketch)


class CropToSketch(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ColorizeDiffusion_CropToSketch",
            display_name="Crop to Sketch",
            category=CATEGORY,
            description="Cuts away what Prepare Sketch added around the drawing to fill the picture.",
            search_aliases=["remove padding", "uncrop", "original size"],
            inputs=[
                io.Image.Input("image", tooltip="The colored picture, at its own size or upscaled."),
                io.Image.Input("sketch", tooltip="The drawing as it was given to Prepare Sketch."),
                io.Boolean.Input(
                    "resize_to_sketch",
                    default=False,
                    advanced=True,
                    tooltip="Also resize the picture to the drawing's own size.",
                ),
            ],
            outputs=[io.Image.Output("image", tooltip="The picture with the drawing's aspect ratio.")],
        )

    @classmethod
    def execute(cls, image, sketch, resize_to_sketch=False):
        return io.NodeOutput(crop_to(image, sketch, resize_to_sketch))


NODES = [PrepareSketch, EncodeSketch, CropToSketch]

"""Parts of the picture that take their colors from different places: regions, figure and background."""

from dataclasses import replace

from comfy_api.latest import io

from ..colorize_core.figure import Figure
from ..colorize_core.host.figure_inputs import with_figure
from ..colorize_core.tokens import Region
from .sockets import CATEGORY, Tagger, Tokens


class RegionReference(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ColorizeDiffusion_RegionReference",
            display_name="Region Reference",
            category=CATEGORY,
            description="Gives a part of the drawing, such as one of two characters, a reference of its own. Chain as "
            "many as you like: all are colored in one pass.",
            search_aliases=[
                "regional prompt",
                "several characters",
                "multiple references",
                "masked reference",
                "分区",
                "領域",
            ],
            is_experimental=True,
            inputs=[
                Tokens.Input(
                    "tokens", tooltip="The reference of the whole drawing, or the output of another Region Reference."
                ),
                Tokens.Input(
                    "region_tokens", tooltip="The region's own reference, from Encode Reference or a text node."
                ),
                io.Mask.Input(
                    "mask",
                    tooltip="Where it counts: 1 inside of the region. Of the drawing's size as it was given to Prepare "
                    "Sketch, or of the picture's. Soft edges stay soft; where regions overlap they are mixed. Load "
                    "Image's mask of a cut-out is the opposite: put Invert Mask between.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=2.0,
                    step=0.01,
                    tooltip="How much the region's reference says: 1 as trained, 0 as if there were none.",
                ),
            ],
            outputs=[Tokens.Output("tokens", tooltip="The reference with this region, for Colorize or for another.")],
        )

    @classmethod
    def execute(cls, tokens, region_tokens, mask, strength):
        return io.NodeOutput(replace(tokens, regions=(*tokens.regions, Region(region_tokens, mask, strength))))


def _share_inputs() -> list[io.Input]:
    """The numbers of Figure and Background: name, default, largest value, what it does."""
    numbers = [
        ("foreground_strength", 1.0, 1.0, "How much the reference colors the figure.", False),
        ("background_strength", 1.0, 1.0, "How much the background's picture colors the rest.", False),
        ("merging", 0.0, 1.0, "How much of the background's colors, and of its style in v2, the figure takes.", False),
        ("background_factor", 1.0, 2.0, "v2: how much the background's own features count.", True),
        (
            "sketch_threshold",
            0.05,
            1.0,
            "Where sketch_mask is above this is the figure. v1.5 was trained to know this number.",
            True,
        ),
        (
            "reference_threshold",
            0.5,
            1.0,
            "Where the reference's or background's mask is below this it stays, the rest turns white. v1.5 was trained "
            "to know this number.",
            True,
        ),
    ]
    return [
        io.Float.Input(name, default=default, min=0.0, max=largest, step=0.01, advanced=advanced, tooltip=tooltip)
        for name, default, largest, tooltip, advanced in numbers
    ]


def _mask_input(name: str, tooltip: str) -> io.Input:
    return io.Mask.Input(name, optional=True, tooltip=tooltip)


class FigureAndBackground(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ColorizeDiffusion_FigureAndBackground",
            display_name="Figure and Background",
            category=CATEGORY,
            description="Keeps the colors of figure and background apart, as v1.5, v2 and XL were trained to; with v2 "
            "also takes over the style of the reference. Masks are white in the figure, as Remove Background makes "
            "them.",
            search_aliases=[
                "foreground background",
                "background enhance",
                "style enhance",
                "style transfer",
                "split attention",
                "背景",
            ],
            is_experimental=True,
            inputs=[
                Tokens.Input("tokens", tooltip="The encoded reference. Text nodes may come before or after."),
                io.ClipVision.Input(
                    "clip_vision", tooltip="The one that encoded the tokens; it encodes the background."
                ),
                io.Image.Input("reference", tooltip="The picture that the tokens were made of."),
                io.Boolean.Input(
                    "background_enhance",
                    default=True,
                    tooltip="Colors the background from the reference's background or from a picture of its own.",
                ),
                io.Boolean.Input(
                    "foreground_enhance",
                    default=False,
                    tooltip="v1.5 and v2: colors the figure as the versions were trained for it.",
                ),
                io.Boolean.Input(
                    "style_enhance",
                    default=False,
                    tooltip="v2: takes over how the reference is painted. Needs vae and latent, and no mask.",
                ),
                *_share_inputs(),
                _mask_input(
                    "sketch_mask",
                    "The drawing's figure, white; of the drawing's size or of the canvas'. Needed by "
                    "background_enhance and foreground_enhance. A cut-out of Load Image is the opposite: Invert Mask.",
                ),
                _mask_input(
                    "reference_mask",
                    "The reference's figure, white: it is painted over, the rest is the background. Needed by "
                    "background_enhance where background is not connected.",
                ),
                io.Image.Input("background", optional=True, tooltip="A picture of its own for the background."),
                _mask_input("background_mask", "The figure in background, white, if there is one: it is painted over."),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="The VAE of the checkpoint. Needed by v2 and by XL v2's encoder, to read the pictures.",
                ),
                io.Latent.Input(
                    "latent",
                    optional=True,
                    tooltip="Prepare Sketch's: the size at which v2 and XL v2 read the pictures.",
                ),
                Tagger.Input("tagger", optional=True, tooltip="For XL: the one that encoded the tokens."),
            ],
            outputs=[Tokens.Output("tokens", tooltip="The reference, with figure and background kept apart.")],
        )

    @classmethod
    def execute(
        cls,
        tokens,
        clip_vision,
        reference,
        background_enhance,
        foreground_enhance,
        style_enhance,
        foreground_strength,
        background_strength,
        merging,
        background_factor=1.0,
        sketch_threshold=0.05,
        reference_threshold=0.5,
        sketch_mask=None,
        reference_mask=None,
        background=None,
        background_mask=None,
        vae=None,
        latent=None,
        tagger=None,
    ):
        figure = Figure(
            background_enhance=background_enhance,
            foreground_enhance=foreground_enhance,
            style_enhance=style_enhance,
            foreground_strength=foreground_strength,
            background_strength=background_strength,
            merging=merging,
            background_factor=background_factor,
            sketch_threshold=sketch_threshold,
            reference_threshold=reference_threshold,
            sketch_mask=sketch_mask,
        )
        return io.NodeOutput(
            with_figure(
                tokens,
                clip_vision,
                reference,
                figure,
                reference_mask=reference_mask,
                background=background,
                background_mask=background_mask,
                vae=vae,
                latent=latent,
                tagger=tagger,
            )
        )


NODES = [RegionReference, FigureAndBackground]

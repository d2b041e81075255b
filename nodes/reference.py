from dataclasses import replace

from comfy_api.latest import io

from ..colorize_core.host.clip import encode_reference
from ..colorize_core.host.injection import with_reference_injection
from ..colorize_core.host.model import require_colorize
from ..colorize_core.host.tagger import encode_with_tagger
from ..colorize_core.images import masked
from .sockets import CATEGORY, Sketch, Tagger, Tokens

MASK_INPUT = io.Mask.Input(
    "mask",
    optional=True,
    tooltip="What it covers counts as white. Connect Load Image's mask for a picture with transparent parts.",
)


class EncodeReference(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ColorizeDiffusion_EncodeReference",
            display_name="Encode Reference",
            category=CATEGORY,
            description="Turns a reference picture into the tokens that the colors are taken from.",
            search_aliases=[
                "reference image",
                "style reference",
                "color reference",
                "style transfer",
                "palette",
                "ip adapter",
                "参考",
                "参照",
            ],
            inputs=[
                io.ClipVision.Input(
                    "clip_vision",
                    tooltip="From Load Reference CLIP; an OpenCLIP ViT-H (ViT-bigG for XL) from Load CLIP Vision works "
                    "too.",
                ),
                io.Image.Input(
                    "image",
                    tooltip="The picture whose colors to take. It is squashed to a square, not cropped.",
                ),
                MASK_INPUT,
                Tagger.Input(
                    "tagger",
                    optional=True,
                    tooltip="From Load Tagger: XL looks at the reference through it too. The other versions do not "
                    "use it.",
                ),
            ],
            outputs=[Tokens.Output("tokens", tooltip="The reference, for Colorize or to be adjusted with text.")],
        )

    @classmethod
    def execute(cls, clip_vision, image, mask=None, tagger=None):
        image = masked(image, mask, "image")
        tokens = encode_reference(clip_vision, image)
        if tagger is not None:
            tokens = replace(tokens, tagger=encode_with_tagger(tagger, image))
        return io.NodeOutput(tokens)


class ReferenceInjection(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ColorizeDiffusion_ReferenceInjection",
            display_name="Reference Injection",
            category=CATEGORY,
            description="Lets the model look at the reference picture itself at every step, beside its tokens: closer "
            "to its colors and textures, at about twice the time.",
            search_aliases=[
                "attention injection",
                "reference only",
                "reference attention",
                "style fidelity",
                "style transfer",
            ],
            inputs=[
                io.Model.Input("model", tooltip="A ColorizeDiffusion model. An earlier injection is replaced."),
                io.Vae.Input("vae", tooltip="The VAE of the model's checkpoint."),
                io.Image.Input(
                    "image",
                    tooltip="The reference picture, at any size. A longer side than 512 pixels is reduced to that, and "
                    "both are rounded to multiples of 64.",
                ),
                Sketch.Input(
                    "sketch",
                    optional=True,
                    tooltip="The reference's own lines: a sketch of the same picture. Only for sketch_fidelity.",
                ),
                io.Float.Input(
                    "style_fidelity",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How much reference guidance also leads towards this picture: at 0 the side that it leads "
                    "away from sees the picture too, at 1 it does not.",
                ),
                io.Float.Input(
                    "sketch_fidelity",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How much the reference is seen with its own lines. 0, or no sketch: without.",
                ),
                io.Float.Input(
                    "start_percent",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    tooltip="Part of the run, from noise to picture, before which nothing is injected: no time spent.",
                ),
                MASK_INPUT,
            ],
            outputs=[io.Model.Output("model", tooltip="The model that sees the reference picture.")],
        )

    @classmethod
    def execute(cls, model, vae, image, style_fidelity, sketch_fidelity, start_percent, sketch=None, mask=None):
        model, image = require_colorize(model), masked(image, mask, "image")
        return io.NodeOutput(
            with_reference_injection(model, vae, image, sketch, style_fidelity, sketch_fidelity, start_percent)
        )


NODES = [EncodeReference, ReferenceInjection]

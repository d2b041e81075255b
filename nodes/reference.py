from comfy_api.latest import io

from ..colorize_core.host.clip import encode_reference
from .sockets import CATEGORY, Tokens


class EncodeReference(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ColorizeDiffusion_EncodeReference",
            display_name="Encode Reference",
            category=CATEGORY,
            description="Turns a reference picture into the tokens that the colours are taken from.",
            search_aliases=["reference image", "style reference", "color reference", "ip adapter"],
            inputs=[
                io.ClipVision.Input(
                    "clip_vision",
                    tooltip="From Load Reference CLIP; an OpenCLIP ViT-H from Load CLIP Vision works too.",
                ),
                io.Image.Input(
                    "image",
                    tooltip="The picture whose colours to take. It is squashed to a square, not cropped; transparent "
                    "parts count as white.",
                ),
            ],
            outputs=[Tokens.Output("tokens", tooltip="The reference, for Colorize or to be adjusted with text.")],
        )

    @classmethod
    def execute(cls, clip_vision, image):
        return io.NodeOutput(encode_reference(clip_vision, image))


NODES = [EncodeReference]

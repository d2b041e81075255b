from dataclasses import replace

from comfy_api.latest import io

from ..colorize_core.tokens import Region
from .sockets import CATEGORY, Tokens


class RegionReference(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ColorizeDiffusion_RegionReference",
            display_name="Region Reference",
            category=CATEGORY,
            description="Gives a part of the drawing, such as one of two characters, a reference of its own. Chain as "
            "many as you like: all are colored in one pass.",
            search_aliases=["regional prompt", "several characters", "multiple references", "masked reference"],
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


NODES = [RegionReference]

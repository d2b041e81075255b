"""What the graph shows: one module per step of the workflow, each with its list of NODES."""

from comfy_api.latest import ComfyExtension, io

from . import load, reference, sample, sketch, text


class ColorizeDiffusionExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [*load.NODES, *sketch.NODES, *reference.NODES, *text.NODES, *sample.NODES]


async def comfy_entrypoint() -> ColorizeDiffusionExtension:
    return ColorizeDiffusionExtension()

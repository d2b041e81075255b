"""What the graph shows: one module per step of the workflow, each with its list of NODES."""

from comfy_api.latest import ComfyExtension, io

from . import layers, load, reference, regions, sample, sketch, text
from .checks import checked


class ColorizeDiffusionExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        modules = (load, sketch, reference, regions, text, sample, layers)
        return [checked(node) for module in modules for node in module.NODES]


async def comfy_entrypoint() -> ColorizeDiffusionExtension:
    return ColorizeDiffusionExtension()

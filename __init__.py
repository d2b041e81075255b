"""ComfyUI nodes for ColorizeDiffusion: color a sketch from a reference picture, adjust it with text."""

from .nodes import comfy_entrypoint

WEB_DIRECTORY = "./web"

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]

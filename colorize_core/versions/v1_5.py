"""ColorizeDiffusion v1.5 (arXiv 2502.19937): recognized, not supported yet."""

from ..checkpoint.config import Version

VERSION = Version(name="v1.5", marks=(".lora_down_fg.", ".lora_down_bg.", "thresh_embedder."), default_prediction="eps")

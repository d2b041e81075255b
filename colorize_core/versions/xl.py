"""ColorizeDiffusion XL (arXiv 2603.05971): recognized, not supported yet."""

from ..checkpoint.config import Version

VERSION = Version(
    name="XL", marks=("img_embedder.", "control_encoder.attn_layer.", "proj.attn."), default_prediction="v"
)

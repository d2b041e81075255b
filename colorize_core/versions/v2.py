"""ColorizeDiffusion v2 (arXiv 2504.06895): recognized, not supported yet."""

from ..checkpoint.config import Version
from ..checkpoint.keys import UNET_PREFIX

VERSION = Version(
    name="v2",
    marks=("bg_encoder.", "style_encoder.", UNET_PREFIX + "warp_modules.", UNET_PREFIX + "style_modules."),
    default_prediction="v",
)

"""ColorizeDiffusion v2 (arXiv 2504.06895): v1 with encoders of the style and of the background, at 768 pixels.

What the background's encoder gives is warped into the denoiser's skips, what the style's gives modulates its output
blocks; only these have LoRAs for figure and background.
"""

from ..checkpoint.config import Config, Version
from ..checkpoint.five_maps import FIVE_MAPS, SIXTEEN_ATTENTIONS
from ..checkpoint.keys import SKETCH_ENCODER, UNET_PREFIX, StateDict

LORA_RANK = 4


def configure(config: Config, unet: StateDict, name: str) -> Config:
    if config.token_type == "cls":
        raise ValueError(f"{name}: token_type is cls, and v2 has models of the attention kind alone. Choose attention.")
    return config


VERSION = Version(
    name="v2",
    marks=("bg_encoder.", "style_encoder.", UNET_PREFIX + "warp_modules.", UNET_PREFIX + "style_modules."),
    default_prediction="v",
    side=768,
    parts=(SKETCH_ENCODER, "bg_encoder.", "style_encoder."),
    hints=FIVE_MAPS,
    attention=SIXTEEN_ATTENTIONS,
    figure_options=("background_enhance", "foreground_enhance", "style_enhance"),
    figure_parts=("bg_encoder.", "style_encoder.", "warp_modules.", "style_modules."),
    configure=configure,
)

"""ColorizeDiffusion v1.5 (arXiv 2502.19937): v1 with figure and background apart.

Its cross-attentions have a LoRA for the figure and one for the background; a cluster transformer makes the background's
tokens from those of the reference without its figure, and the thresholds of the masks are embedded.
"""

from dataclasses import dataclass

from ..checkpoint.config import Config, Version
from ..checkpoint.five_maps import FIVE_MAPS, SIXTEEN_ATTENTIONS
from ..checkpoint.keys import SKETCH_ENCODER, StateDict, count, weight

FOREGROUND_RANK = 4  # of the LoRAs; the background's is half of the smaller side


@dataclass(frozen=True)
class ConfigV15(Config):
    """A v1.5 model: the cluster transformer's learned queries, as many as the reference has tokens, and its layers."""

    cluster_queries: int = 256
    cluster_depth: int = 6


def configure(config: Config, unet: StateDict, name: str) -> ConfigV15:
    queries = weight(unet, "transformer.embedding", name).shape[0]
    return ConfigV15(**vars(config), cluster_queries=queries, cluster_depth=count(unet, "transformer.layers."))


VERSION = Version(
    name="v1.5",
    marks=(".lora_down_fg.", ".lora_down_bg.", "thresh_embedder."),
    default_prediction="eps",
    parts=(SKETCH_ENCODER, "transformer.", "thresh_embedder."),
    hints=FIVE_MAPS,
    attention=SIXTEEN_ATTENTIONS,
    figure_options=("background_enhance", "foreground_enhance"),
    figure_parts=("transformer.", "thresh_embedder."),
    configure=configure,
)

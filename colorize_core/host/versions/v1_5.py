"""ColorizeDiffusion v1.5 in the host: v1 with a LoRA for each branch, the cluster transformer, embedded thresholds."""

import torch

from ...networks.cluster_transformer import ClusterTransformer
from ...networks.embeddings import ThresholdEmbedder
from ...versions.v1_5 import FOREGROUND_RANK, VERSION
from ..branches import add_split_lora
from ..figure import Split
from ..five_map_unet import FiveMapUNet
from ..model import ColorizeConfig


def _lora_ranks(linear) -> dict[str, int]:
    return {"fg": FOREGROUND_RANK, "bg": min(linear.in_features, linear.out_features) // 2}


class UNetV15(FiveMapUNet):
    def __init__(self, *args, config, dtype=torch.float32, device=None, operations, **kwargs):
        factory = {"dtype": dtype, "device": device, "operations": operations}
        super().__init__(*args, config=config, **factory, **kwargs)
        width = config.unet.context_dim
        self.transformer = ClusterTransformer(width, config.cluster_queries, config.cluster_depth, **factory)
        self.thresh_embedder = ThresholdEmbedder(width, **factory)
        add_split_lora(self, _lora_ranks, **factory)

    def split(self, figure, reference, background):
        if not figure.background_enhance:
            return Split(reference, reference, ("fg", None))
        thresholds = torch.tensor([figure.sketch_threshold, figure.reference_threshold], device=reference.device)
        on_sketch, on_reference = self.thresh_embedder(thresholds, reference.dtype).unbind()
        background = background + on_reference
        if not figure.background_given:
            background = self.transformer(background)
        reference = reference + on_sketch
        if not figure.foreground_enhance:
            return Split(reference, background, (None, "bg"))
        both = torch.cat([reference, background], dim=1)
        return Split(both, both, ("fg", "bg"))


class ColorizeV15(ColorizeConfig):
    version = VERSION
    unet_class = UNetV15

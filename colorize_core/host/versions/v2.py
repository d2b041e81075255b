"""ColorizeDiffusion v2 in the host: v1 with encoders of style and background, and modules that take what they give."""

import torch
from torch import nn

from ...networks.feature_modules import StyleModule, WarpModule, input_widths, output_widths
from ...versions.v2 import LORA_RANK, VERSION
from .. import background_features, injection, style
from ..branches import add_split_lora
from ..features import BEFORE_INJECTION
from ..figure import Split
from ..five_map_unet import FiveMapUNet
from ..half_unet import BackgroundEncoder, StyleEncoder
from ..model import ColorizeConfig


def _lora_ranks(linear) -> dict[str, int]:
    return {"fg": LORA_RANK, "bg": LORA_RANK}


class UNetV2(FiveMapUNet):
    features = (*BEFORE_INJECTION, style.FEATURE, background_features.FEATURE, injection.FEATURE)

    def __init__(self, *args, config, dtype=torch.float32, device=None, operations, **kwargs):
        factory = {"dtype": dtype, "device": device, "operations": operations}
        super().__init__(*args, config=config, **factory, **kwargs)
        shape = config.unet.model_channels, config.unet.channel_mult, config.unet.num_res_blocks
        time_width = self.time_embed[-1].out_features
        self.warp_modules = nn.ModuleList(WarpModule(width, **factory) for width in reversed(input_widths(*shape)))
        self.style_modules = nn.ModuleList(StyleModule(width, time_width, **factory) for width in output_widths(*shape))
        self.style_encoder = StyleEncoder(kwargs, **factory)
        self.bg_encoder = BackgroundEncoder(kwargs, **factory)
        add_split_lora(self.output_blocks, _lora_ranks, **factory)
        for block in self.output_blocks:
            block.append(style.StyleSlot())

    def split(self, figure, reference, background):
        if figure.background_enhance:
            return Split(reference, background, ("fg", "bg"))
        return Split(reference, background if figure.style_enhance else reference)


class ColorizeV2(ColorizeConfig):
    version = VERSION
    unet_class = UNetV2

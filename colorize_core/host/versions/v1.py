"""ColorizeDiffusion v1 in the host: its UNet with the five-map sketch encoder."""

import torch

from ...networks.sketch_encoder import SketchEncoder
from ...versions.v1 import VERSION
from ..figure import Split
from ..model import ColorizeConfig
from ..unet import ColorizeUNet


class UNetV1(ColorizeUNet):
    def __init__(self, *args, dtype=torch.float32, device=None, operations, **kwargs):
        super().__init__(*args, dtype=dtype, device=device, operations=operations, **kwargs)
        self.control_encoder = SketchEncoder(self.model_channels, self.channel_mult, dtype, device, operations)

    def split(self, figure, reference, background):
        return Split(reference, background)


class ColorizeV1(ColorizeConfig):
    version = VERSION
    unet_class = UNetV1

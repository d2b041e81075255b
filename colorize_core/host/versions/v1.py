"""ColorizeDiffusion v1 in the host: its UNet with the five-map sketch encoder."""

from ...versions.v1 import VERSION
from ..figure import Split
from ..five_map_unet import FiveMapUNet
from ..model import ColorizeConfig


class UNetV1(FiveMapUNet):
    def split(self, figure, reference, background):
        return Split(reference, background)


class ColorizeV1(ColorizeConfig):
    version = VERSION
    unet_class = UNetV1

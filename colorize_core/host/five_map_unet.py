"""The UNet of all versions whose sketch encoder gives five maps; a version's own adds what only that version has."""

import torch

from ..figure import latent_mask
from ..networks.sketch_encoder import SketchEncoder
from .figure import hard_figure_weights
from .unet import ColorizeUNet


class FiveMapUNet(ColorizeUNet):
    latent_mask = staticmethod(latent_mask)
    figure_weights = staticmethod(hard_figure_weights)

    def __init__(self, *args, dtype=torch.float32, device=None, operations, **kwargs):
        super().__init__(*args, dtype=dtype, device=device, operations=operations, **kwargs)
        self.control_encoder = SketchEncoder(self.model_channels, self.channel_mult, dtype, device, operations)

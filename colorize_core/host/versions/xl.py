"""ColorizeDiffusion XL in the host: its SDXL UNet with the multi-scale sketch encoder and the token mixer."""

from typing import ClassVar

import comfy.latent_formats
import torch

from ...figure import figure_weights, nearest_latent_mask, resize_mask
from ...networks.multi_scale_encoder import MultiScaleSketchEncoder
from ...networks.token_mixer import TokenMixer
from ...versions.xl import ADAPTED_VERSION, BACKGROUND_RANK, VERSION
from .. import background_bank, injection, size
from ..bank_encoder import BankEncoder
from ..branches import add_split_lora
from ..features import BEFORE_INJECTION, FEATURES
from ..figure import Split, in_figure
from ..model import ColorizeConfig
from ..reference import check_width
from ..unet import ColorizeUNet

BACKGROUND_ADAPTER = "background"  # the LoRA of XL v2, for both branches


class UNetXL(ColorizeUNet):
    features = (size.FEATURE, *FEATURES)

    def __init__(self, *args, config, dtype=torch.float32, device=None, operations, **kwargs):
        factory = {"dtype": dtype, "device": device, "operations": operations}
        super().__init__(*args, config=config, **factory, **kwargs)
        self.control_encoder = MultiScaleSketchEncoder(
            self.model_channels, self.channel_mult, config.sketch_head_channels, **factory
        )
        widths = config.clip_width, config.tagger_width, config.unet.context_dim
        self.proj = TokenMixer(*widths, config.mixer_head_channels, **factory)

    def to_context(
        self, cls: torch.Tensor, local: torch.Tensor, tagger: torch.Tensor | None, name: str
    ) -> torch.Tensor:
        """The mixed tokens; those without a tagger's that are as wide as a context are one already."""
        if tagger is None:
            if local.shape[-1] == self.config.unet.context_dim:
                return local
            raise ValueError(
                f"{name}: XL looks at a reference through a tagger too. Connect Load Tagger (XL) to Encode Reference."
            )
        for tokens in (local, cls):
            check_width(tokens, self.config.clip_width, name)
        check_width(tagger, self.config.tagger_width, name, "tagger")
        return self.proj(torch.cat([cls, local], dim=1), tagger)

    latent_mask = staticmethod(nearest_latent_mask)

    @staticmethod
    def figure_weights(mask, numbers, size, adapted):
        """Hard; the strengths count only where the background is mixed in, and so does the threshold itself."""
        threshold, merging, *strengths = numbers.unbind(dim=1)
        is_mixed = merging > 0
        exclusive, inclusive = (in_figure(mask, threshold, size, inclusive=choice) for choice in (False, True))
        figure = torch.where(is_mixed[:, None, None, None], inclusive, exclusive)
        return figure_weights(figure, merging, *(torch.where(is_mixed, strength, 1) for strength in strengths))

    def split(self, figure, reference, background):
        return Split(reference, background)


class UNetXLAdapted(UNetXL):
    features = (size.FEATURE, *BEFORE_INJECTION, background_bank.FEATURE, injection.FEATURE)

    def __init__(self, *args, config, dtype=torch.float32, device=None, operations, **kwargs):
        factory = {"dtype": dtype, "device": device, "operations": operations}
        super().__init__(*args, config=config, **factory, **kwargs)
        self.bg_encoder = BankEncoder(kwargs, **factory)
        add_split_lora(self, lambda linear: {BACKGROUND_ADAPTER: BACKGROUND_RANK}, **factory)
        background_bank.add_figure_attention(self)

    @staticmethod
    def figure_weights(mask, numbers, size, adapted):
        """Soft: the figure counts as much as the mask says, without a threshold."""
        return figure_weights(resize_mask(mask, size), *numbers.unbind(dim=1)[1:])

    def split(self, figure, reference, background):
        return Split(reference, background, (BACKGROUND_ADAPTER, BACKGROUND_ADAPTER))


class ColorizeXL(ColorizeConfig):
    version = VERSION
    unet_class = UNetXL
    unet_extra_config: ClassVar = {"num_heads": -1}
    latent_format = comfy.latent_formats.SDXL
    memory_usage_factor = 0.8


class ColorizeXLAdapted(ColorizeXL):
    version = ADAPTED_VERSION
    unet_class = UNetXLAdapted

"""The host's UNet with what ColorizeDiffusion adds: a sketch encoder inside, and features that change its passes."""

from dataclasses import asdict
from itertools import accumulate

import torch
from comfy.ldm.modules.attention import BasicTransformerBlock, SpatialTransformer
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

from ..checkpoint.config import Config
from ..checkpoint.unet import UNetShape
from .branches import BranchCrossAttention
from .feature import UNetPass
from .features import FEATURES
from .injection import BankSelfAttention
from .options import NETWORK
from .reference import check_width


class ColorizeUNet(UNetModel):
    """What the UNets of all versions have in common; a version's own gives it a `control_encoder`, so that both load,
    move and save together.

    The forward pass takes, beside the UNet's own arguments, the keywords that the features' `options` take.
    """

    features = FEATURES

    def __init__(self, *args, config: Config, **kwargs):
        super().__init__(*args, **kwargs)
        self.config = config
        transformers = [module for module in self.modules() if isinstance(module, SpatialTransformer)]
        depths = [len(transformer.transformer_blocks) for transformer in transformers]
        self.first_blocks = tuple(accumulate(depths, initial=0))  # number of each transformer's first block
        for module in self.modules():
            if isinstance(module, BasicTransformerBlock):
                module.attn1.__class__ = BankSelfAttention  # their weights and keys stay as they are
                module.attn2.__class__ = BranchCrossAttention

    def to_context(
        self, cls: torch.Tensor, local: torch.Tensor, tagger: torch.Tensor | None, name: str
    ) -> torch.Tensor:
        """The context [B,N,D] of a reference. ValueError, for the input `name`, if its tokens are not the model's."""
        context = cls if self.config.token_type == "cls" else local
        check_width(context, self.config.unet.context_dim, name)
        return context

    def _forward(
        self,
        x,
        timesteps=None,
        context=None,
        y=None,
        control=None,
        transformer_options={},  # noqa: B006 (the host's signature; never written to here)
        **kwargs,
    ):
        keywords = kwargs | {"context": context}

        def run(latent, options, control=None):  # the host writes into the options
            options = dict(options)
            network = options.pop(NETWORK)(latent, options) if NETWORK in options else self
            return UNetModel._forward(
                network, latent, timesteps, y=y, control=control, transformer_options=options, **keywords
            )

        unet_pass = UNetPass(self, keywords, run)
        options = transformer_options
        for feature in self.features:
            options = feature.options(unet_pass, options)
        return run(x, options, control)


def unet_arguments(shape: UNetShape) -> dict:
    """The host's arguments for a UNet of this shape."""
    arguments = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(shape).items()}
    vector = {"num_classes": "sequential"} if shape.adm_in_channels else {}
    return {
        "image_size": 32,
        "use_checkpoint": False,
        "legacy": False,
        "use_spatial_transformer": True,
        "use_temporal_resblock": False,
        "use_temporal_attention": False,
        **vector,
        **arguments,
    }

"""ColorizeDiffusion as a model of the host, whichever version it is of, and how the host builds, loads and saves it."""

from functools import partial
from typing import ClassVar

import comfy.latent_formats
import comfy.model_base
import comfy.supported_models_base
import torch

from .. import versions
from ..checkpoint.config import Config, Version
from ..checkpoint.keys import own_key
from ..checkpoint.writing import published_weights
from . import reference
from .feature import Step
from .schedule import MODEL_SAMPLINGS
from .unet import ColorizeUNet, unet_arguments


class ColorizeModel(comfy.model_base.BaseModel):
    """The host's diffusion model with a ColorizeUNet; `config` is the Config of its checkpoint."""

    def __init__(self, model_config, model_type, device=None):
        build_unet = partial(model_config.unet_class, config=model_config.config)
        super().__init__(model_config, model_type, device=device, unet_model=build_unet)
        self.model_sampling = MODEL_SAMPLINGS[model_type](model_config)
        self.config = model_config.config
        self.features = model_config.unet_class.features
        self.memory_usage_factor_conds = tuple(name for feature in self.features for name in feature.memory_keywords)

    def extra_conds(self, **kwargs):
        check_latent(kwargs["noise"], self.latent_format.latent_channels)
        cond = kwargs | {"cross_attn": reference.context_of(self, kwargs)}
        out = super().extra_conds(**cond)
        for feature in self.features:
            out |= feature.conds(self, cond)
        return out

    def extra_conds_shapes(self, **kwargs):
        shapes = {}
        for feature in self.features:
            shapes |= feature.shapes(kwargs)
        return shapes

    def resize_cond_for_context_window(self, cond_key, cond_value, *args, **kwargs):
        """Maps of other sizes than the latent's have five dimensions and stay: the host would cut any that happens to
        be as long."""
        is_map = isinstance(getattr(cond_value, "cond", None), torch.Tensor) and cond_value.cond.ndim == 5
        return cond_value if is_map else None

    def _apply_model(
        self,
        x,
        t,
        c_concat=None,
        c_crossattn=None,
        control=None,
        transformer_options={},  # noqa: B006 (the host's signature; never written to here)
        **kwargs,
    ):
        step = Step(t, self.model_sampling, transformer_options)
        keywords = kwargs | {reference.CONTEXT: c_crossattn}
        for feature in self.features:
            keywords = feature.keywords(step, keywords)
        context = keywords.pop(reference.CONTEXT)
        return super()._apply_model(x, t, c_concat, context, control, transformer_options, **keywords)


class ColorizeConfig(comfy.supported_models_base.BASE):
    """How the host builds, loads and saves a model of one `version`; a version's module gives it its `unet_class`.

    The host makes one of the shape that it finds, and the Config is then read off the weights; `of` makes one of a
    Config that is known.
    """

    version: ClassVar[Version]
    unet_class: ClassVar[type[ColorizeUNet]]
    unet_extra_config: ClassVar = {"num_heads": -1, "attn_precision": torch.float32}
    latent_format = comfy.latent_formats.SD15
    memory_usage_factor = 1.0
    config: Config | None = None

    def __init__(self, unet_config):
        super().__init__(unet_config)
        self.unet_config.setdefault("num_head_channels", -1)  # the host finds none: `get_model` does

    @classmethod
    def of(cls, config: Config):
        host_config = cls(unet_arguments(config.unet))
        host_config.config = config
        return host_config

    @classmethod
    def matches(cls, unet_config, state_dict=None, *args, **kwargs):
        """A UNet of this version's levels whose file has the version's marks: neither alone is ours."""
        blocks = unet_config.get("num_res_blocks")
        return (
            state_dict is not None
            and unet_config.get("context_dim") is not None
            and (unet_config.get("adm_in_channels") is not None) == cls.version.takes_vector
            and isinstance(blocks, list)
            and sum(blocks) + len(blocks) == cls.version.hints.blocks[-1] + 1
            and versions.detect_version(state_dict) is cls.version
        )

    def model_type(self, state_dict, prefix=""):
        types = comfy.model_base.ModelType
        return types.V_PREDICTION if self.config.prediction == "v" else types.EPS

    def get_model(self, state_dict, prefix="", device=None):
        if self.config is None:
            self.config = versions.detect(state_dict, "The checkpoint")
            self.unet_config["num_head_channels"] = self.config.unet.num_head_channels
        model = ColorizeModel(self, self.model_type(state_dict, prefix), device=device)
        for key in list(state_dict):
            own = own_key(prefix + key if key.startswith(self.version.parts) else key)
            if own != key:
                state_dict[own] = state_dict.pop(key)
        return model

    def process_unet_state_dict_for_saving(self, state_dict):
        return published_weights(self.config, state_dict)

    def clip_target(self, state_dict={}):  # noqa: B006 (the host's signature)
        return None


def check_latent(latent: torch.Tensor, channels: int) -> None:
    """ValueError for a whole latent that is not one of a picture, or has not `channels`."""
    if latent.ndim != 4:
        raise ValueError(
            f"latent: {latent.ndim} dimensions where a picture's has 4 [batch, channels, height, width]; "
            "use the latent of Prepare Sketch or an Empty Latent Image."
        )
    if latent.shape[1] != channels:
        raise ValueError(
            f"latent: {latent.shape[1]} channels where the model's have {channels}; "
            "encode the picture with the VAE of the model's checkpoint."
        )


def require_colorize(model):
    """The MODEL `model` itself. ValueError for one that is not ColorizeDiffusion's."""
    if not isinstance(model.model, ColorizeModel):
        raise ValueError("model: this is no ColorizeDiffusion model; connect Load ColorizeDiffusion Checkpoint.")
    return model

"""ColorizeDiffusion as a model of the host: its UNet with the sketch encoder inside, and what it is conditioned on.

The config is registered with the host's detection too, so its own checkpoint loader opens these files as well.
"""

from dataclasses import asdict
from typing import ClassVar

import comfy.conds
import comfy.latent_formats
import comfy.model_base
import comfy.model_sampling
import comfy.supported_models
import comfy.supported_models_base
import torch
import torch.nn.functional as F
from comfy.ldm.modules.attention import BasicTransformerBlock
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from comfy.model_management import cast_to_device

from .. import checkpoint
from ..images import same_aspect
from ..networks.sketch_encoder import HINT_BLOCKS, HINT_DOWNSCALES, LATENT_DOWNSCALE, SketchEncoder
from . import conditions, injection

HINT_NAMES = tuple(f"hint_{k}" for k in range(len(HINT_BLOCKS)))
REFERENCE_INTERVAL = "reference_interval"
REFERENCE_STRENGTH = "colorize_reference_strength"  # in a model's transformer_options: 16 numbers


class ColorizeUNet(UNetModel):
    """The host's UNet with a sketch encoder (`control_encoder`) inside, so that both load, move and save together.

    The forward pass takes, beside the UNet's own arguments, the sketch encoder's maps as `hint_0` .. `hint_4`
    (all or none) and `reference_strength` [16], which scales the result of each cross-attention. With
    `injection_latent` [B,4,h,w], noised to the same timesteps, a first pass over it (with hints
    `injection_hint_0` .. `injection_hint_4`, all or none) comes before; a row of the batch keeps the share
    `injection_own_share` [B] of what its self-attentions would be without.
    """

    def __init__(self, *args, dtype=torch.float32, device=None, operations, **kwargs):
        super().__init__(*args, dtype=dtype, device=device, operations=operations, **kwargs)
        self.control_encoder = SketchEncoder(self.model_channels, self.channel_mult, dtype, device, operations)
        for module in self.modules():
            if isinstance(module, BasicTransformerBlock):
                module.attn1.__class__ = injection.BankSelfAttention  # its weights and their keys stay as they are

    def _forward(
        self,
        x,
        timesteps=None,
        context=None,
        y=None,
        control=None,
        transformer_options={},  # noqa: B006 (the host's signature; never written to here)
        reference_strength=None,
        injection_latent=None,
        injection_own_share=None,
        **kwargs,
    ):
        hints = [kwargs.pop(name, None) for name in HINT_NAMES]
        injection_hints = [kwargs.pop(name, None) for name in injection.HINTS]
        options = transformer_options
        if reference_strength is not None:
            options = with_patch(options, "attn2_patch", scale_reference(reference_strength))
        if injection_latent is not None:
            bank = {}
            write = with_hints(options, injection_hints) | {injection.WRITE: bank}
            super()._forward(injection_latent, timesteps, context, y, None, write, **kwargs)
            options = options | {injection.READ: (bank, injection_own_share)}
        return super()._forward(x, timesteps, context, y, control, with_hints(options, hints), **kwargs)


def with_patch(options, name, patch, first=False):
    """`transformer_options` with one more patch, after those of others or before them."""
    patches = options.get("patches", {})
    others = patches.get(name, [])
    return options | {"patches": patches | {name: [patch, *others] if first else [*others, patch]}}


def with_hints(options, hints):
    """`transformer_options` for a pass with these hints, or with none."""
    if hints[0] is None:
        return dict(options)  # the host writes into them
    return with_patch(options, "input_block_patch", add_hints(hints), first=True)


def add_hints(hints):
    """An `input_block_patch` that adds each hint to its block's output, at the size another patch may have given it."""
    hint_of_block = dict(zip(HINT_BLOCKS, hints, strict=True))

    def patch(h, transformer_options):
        hint = hint_of_block.get(transformer_options["block"][1])
        if hint is None:
            return h
        if hint.shape[-2:] != h.shape[-2:]:
            hint = F.interpolate(hint, size=h.shape[-2:], mode="bilinear")
        return h + hint

    return patch


def scale_reference(strength):
    """An `attn2_patch` that scales the value of cross-attention i by strength[i].

    The value's projection has no bias, so this scales the attention's result before its output projection.
    """

    def patch(query, context, value, extra_options):
        return query, context, value * strength[extra_options["transformer_index"]]

    return patch


class ModelSamplingFractional(comfy.model_sampling.ModelSamplingDiscrete):
    """The discrete schedule with timesteps between its 1000 steps: linear in log sigma, as the samplers of k-diffusion.

    The host's own rounds to the nearest step.
    """

    def timestep(self, sigma):
        log_sigmas = self.log_sigmas
        log_sigma = sigma.log().to(log_sigmas.device)
        low = (torch.searchsorted(log_sigmas, log_sigma, right=True) - 1).clamp(0, len(log_sigmas) - 2)
        fraction = (log_sigma - log_sigmas[low]) / (log_sigmas[low + 1] - log_sigmas[low])
        return (low + fraction.clamp(0, 1)).to(sigma.device)


class ModelSamplingEps(ModelSamplingFractional, comfy.model_sampling.EPS):
    pass


class ModelSamplingV(ModelSamplingFractional, comfy.model_sampling.V_PREDICTION):
    pass


MODEL_SAMPLINGS = {
    comfy.model_base.ModelType.EPS: ModelSamplingEps,
    comfy.model_base.ModelType.V_PREDICTION: ModelSamplingV,
}


class ColorizeModel(comfy.model_base.BaseModel):
    """The host's diffusion model with a ColorizeUNet. `token_type` says which tokens it takes: `attention` or `cls`."""

    def __init__(self, model_config, model_type, device=None):
        super().__init__(model_config, model_type, device=device, unet_model=ColorizeUNet)
        self.model_sampling = MODEL_SAMPLINGS[model_type](model_config)
        self.token_type = model_config.token_type
        self.memory_usage_factor_conds = (injection.LATENT,)

    def extra_conds(self, **kwargs):
        """Every conditioning gives the same set of conditions, so that they share batches."""
        noise, device = kwargs["noise"], kwargs["device"]
        self.check_latent(noise, kwargs.get(conditions.SKETCH))
        context = self.reference_context(kwargs)
        out = super().extra_conds(**kwargs | {"cross_attn": context.to(device)})
        hints = self.encode_sketch(kwargs.get(conditions.SKETCH), noise, device)
        strength = kwargs.get(conditions.SKETCH_STRENGTH, 1.0)
        for name, hint, downscale in zip(HINT_NAMES, hints, HINT_DOWNSCALES, strict=True):
            out[name] = conditions.CONDHint(hint * strength, downscale)

        percents = kwargs.get(conditions.START_PERCENT, 0.0), kwargs.get(conditions.END_PERCENT, 1.0)
        sigmas = [self.model_sampling.percent_to_sigma(percent) for percent in percents]
        out[REFERENCE_INTERVAL] = comfy.conds.CONDRegular(torch.tensor([sigmas], device=device))

        if injection.INJECTION in kwargs:
            dropped = ~context.flatten(1).any(dim=1)
            out |= self.injection_conds(kwargs[injection.INJECTION], dropped, kwargs.get("seed"), device)
        return out

    def injection_conds(self, injected: injection.Injection, dropped, seed, device) -> dict:
        """The conditions of an injection, for a conditioning whose rows `dropped` [b] have no reference."""
        latent = self.process_latent_in(injected.latent)
        hints = None
        if injected.sketch is not None and injected.sketch_fidelity > 0:
            strength = injected.sketch.strength * injected.sketch_fidelity
            hints = [hint * strength for hint in self.encode_sketch(injected.sketch.pixels, latent, device)]
        noise = injection.make_noise(latent, seed)
        start_sigma = self.model_sampling.percent_to_sigma(injected.start_percent)
        return injection.make_conditions(injected, latent, noise, hints, start_sigma, dropped, device)

    def extra_conds_shapes(self, **kwargs):
        if injection.INJECTION not in kwargs:
            return {}
        return {injection.LATENT: list(kwargs[injection.INJECTION].latent.shape)}

    def reference_context(self, cond):
        """The tokens [B,N,D] of a conditioning. None stands for a dropped reference, and so do zeros."""
        width = self.model_config.unet_config["context_dim"]
        context = cond.get("cross_attn")
        if context is None:
            return torch.zeros(1, 1, width)
        if self.token_type == "cls":
            kept = context.flatten(1).any(dim=1)
            context = cond.get(conditions.CLS, context) * kept[:, None, None]
        if context.shape[-1] != width:
            raise ValueError(
                f"conditioning: its tokens are {context.shape[-1]} wide and the model takes {width}. "
                "Encode the reference with the CLIP that belongs to this checkpoint."
            )
        return context

    def check_latent(self, latent, sketch):
        """ValueError for a whole latent that is not this model's, or of another aspect than the sketch [b,3,h,w]."""
        if latent.ndim != 4:
            raise ValueError(
                f"latent: {latent.ndim} dimensions where a picture's has 4 [batch, channels, height, width]; "
                "use the latent of Prepare Sketch or an Empty Latent Image."
            )
        channels = self.latent_format.latent_channels
        if latent.shape[1] != channels:
            raise ValueError(
                f"latent: {latent.shape[1]} channels where the model's have {channels}; "
                "encode the picture with the VAE of the model's checkpoint."
            )
        height, width = (side * LATENT_DOWNSCALE for side in latent.shape[2:])
        if sketch is not None and not same_aspect(sketch.shape[2:], (height, width)):
            raise ValueError(
                f"latent: it makes a picture of {width}x{height} pixels, of another aspect ratio than the sketch "
                f"({sketch.shape[3]}x{sketch.shape[2]}), which would be stretched. Use the latent of Prepare Sketch, "
                "or prepare the sketch at the picture's size."
            )

    @torch.no_grad()  # where the host trains, a sketch made in inference mode could not be differentiated through
    def encode_sketch(self, pixels, noise, device):
        """Five hints for the latent `noise` [B,4,H,W] of a sketch [b,3,h,w], resized to it; None is a blank one."""
        size = [side * LATENT_DOWNSCALE for side in noise.shape[2:]]
        if pixels is None:
            pixels = torch.full((1, 3, *size), conditions.BLANK)
        pixels = pixels[: noise.shape[0]].to(device)
        if list(pixels.shape[2:]) != size:
            pixels = F.interpolate(pixels, size=size, mode="bilinear", antialias=True)
        return self.diffusion_model.control_encoder(pixels.to(self.get_dtype_inference()))

    def _apply_model(
        self,
        x,
        t,
        c_concat=None,
        c_crossattn=None,
        control=None,
        transformer_options={},  # noqa: B006 (the host's signature; never written to here)
        reference_interval=None,
        **kwargs,
    ):
        if reference_interval is not None:
            start, end = reference_interval.to(t).unbind(dim=1)
            inside = (t <= start) & (t >= end)
            c_crossattn = c_crossattn * inside[:, None, None]
        if REFERENCE_STRENGTH in transformer_options:
            strengths = torch.tensor(transformer_options[REFERENCE_STRENGTH])
            kwargs["reference_strength"] = cast_to_device(strengths, x.device, strengths.dtype)  # does not wait for it
        kwargs |= injection.keywords_at(t, injection.take_from(kwargs), self.model_sampling)
        return super()._apply_model(x, t, c_concat, c_crossattn, control, transformer_options, **kwargs)


class ColorizeV1(comfy.supported_models_base.BASE):
    """How the host builds, loads and saves a ColorizeDiffusion v1 model."""

    unet_extra_config: ClassVar = {"num_heads": -1, "attn_precision": torch.float32}
    latent_format = comfy.latent_formats.SD15
    memory_usage_factor = 1.0
    prediction = None  # "eps" or "v"; None asks the state dict
    token_type = "attention"

    def __init__(self, unet_config):
        super().__init__(unet_config)
        self.unet_config.setdefault("num_head_channels", checkpoint.head_channels(unet_config["model_channels"]))

    @classmethod
    def matches(cls, unet_config, state_dict=None, *args, **kwargs):
        """A UNet of our shape whose file has a sketch encoder: neither alone is ours."""
        return (
            state_dict is not None
            and unet_config.get("num_res_blocks") == [2, 2, 2, 2]
            and unet_config.get("context_dim") is not None
            and unet_config.get("adm_in_channels") is None
            and checkpoint.detect_version(state_dict) == "v1"
        )

    def model_type(self, state_dict, prefix=""):
        prediction = self.prediction or checkpoint.detect_prediction(state_dict, "v1")
        types = comfy.model_base.ModelType
        return types.V_PREDICTION if prediction == "v" else types.EPS

    def get_model(self, state_dict, prefix="", device=None):
        model = ColorizeModel(self, self.model_type(state_dict, prefix), device=device)
        for key in [key for key in state_dict if key.startswith(checkpoint.ENCODER_PREFIX)]:
            state_dict[prefix + key] = state_dict.pop(key)
        return model

    def process_unet_state_dict_for_saving(self, state_dict):
        return checkpoint.to_published_keys(state_dict)

    def clip_target(self, state_dict={}):  # noqa: B006 (the host's signature)
        return None


def unet_arguments(config: checkpoint.Config) -> dict:
    """The host's arguments for a UNet of this shape."""
    arguments = asdict(config)
    for name in ("version", "prediction"):
        del arguments[name]
    lists = {name: list(value) for name, value in arguments.items() if isinstance(value, tuple)}
    return {
        "image_size": 32,
        "use_checkpoint": False,
        "legacy": False,
        "use_spatial_transformer": True,
        "use_temporal_resblock": False,
        "use_temporal_attention": False,
        "adm_in_channels": None,
        **arguments,
        **lists,
    }


comfy.supported_models.models.append(ColorizeV1)

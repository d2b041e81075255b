"""The host's own networks built for training: float32, with gradients; initialized, or from a file's weights."""

from dataclasses import dataclass
from pathlib import Path

import comfy.ops
import torch
import torch.nn.functional as F
from comfy.ldm.models.autoencoder import AutoencoderKL
from torch import nn

from .. import versions
from ..checkpoint.config import Config
from ..checkpoint.keys import UNET_PREFIX, from_published_keys, vae_weights
from ..checkpoint.metadata import read_facts
from ..networks.embeddings import canvas_embedding
from ..tagger import TAGGER_TOKENS
from ..tokens import ReferenceTokens
from ..versions.stable_diffusion import from_stable_diffusion
from .files import read_state_dict
from .hints import hint_names
from .load import require_weights
from .reference import in_use
from .size import VECTOR
from .unet import ColorizeUNet, unet_arguments
from .versions import host_config

INITIALIZED = (nn.Linear, nn.Conv2d, nn.GroupNorm, nn.LayerNorm)
HINT_LAYERS = ("zero_layer.0", "zero_blocks.0.0", "zero_blocks.1.0", "zero_blocks.2.0", "zero_blocks.3.0")


class Colorizer(nn.Module):
    """Sketch encoder and denoiser as one module, which is what is trained; of XL the token mixer too.

    `forward` takes a noisy latent [B,4,h,w], timesteps [B] of 0..999, tokens [B,N,D] (`stack_tokens`; zeros for a
    dropped reference) and a sketch [B,3,8h,8w] in -1..1, white lines on black; it gives eps or v [B,4,h,w].
    """

    def __init__(self, unet: ColorizeUNet):
        super().__init__()
        self.unet = unet

    def forward(self, noisy, t, tokens, sketch):
        hints = self.unet.control_encoder(sketch)
        keywords = dict(zip(hint_names(len(hints)), hints, strict=True))
        if self.unet.config.version.takes_vector:
            keywords[VECTOR] = canvas_embedding(*sketch.shape[2:]).to(noisy).expand(len(noisy), -1)
        return self.unet(noisy, t, context=self.context(tokens), **keywords)

    def context(self, tokens: torch.Tensor) -> torch.Tensor:
        """What the denoiser attends to [B,M,D'], of a reference's tokens as `stack_tokens` has them."""
        clip_width, tagger_width = self.unet.config.token_widths
        if not tagger_width:
            return tokens
        clip, tagger = tokens[:, :-TAGGER_TOKENS, :clip_width], tokens[:, -TAGGER_TOKENS:, :tagger_width]
        mixed = self.unet.to_context(clip[:, :1], clip[:, 1:], tagger, "reference")
        return mixed * in_use(tokens).to(mixed)[:, None, None]


def stack_tokens(config: Config, reference: ReferenceTokens) -> torch.Tensor:
    """All that a model takes of a reference as one tensor [B,N,D]: for XL the tokens of CLIP, then the tagger's, of
    which the narrower end in zeros; for others the local ones, or CLS."""
    if not config.token_widths[1]:
        return reference.cls if config.token_type == "cls" else reference.local
    width, parts = max(config.token_widths), (reference.cls, reference.local, reference.tagger)
    return torch.cat([F.pad(part, (0, width - part.shape[-1])) for part in parts], dim=1)


def stacked_shape(config: Config, clip_tokens: int = 256) -> tuple[int, int]:
    """N and D of `stack_tokens`, for a CLIP of that many local tokens."""
    if config.token_widths[1]:
        return 1 + clip_tokens + TAGGER_TOKENS, max(config.token_widths)
    return 1 if config.token_type == "cls" else clip_tokens, config.token_widths[0]


@dataclass(frozen=True)
class StartingPoint:
    """What a training starts from: a denoiser, its configuration, and the VAE of its file in published keys, or {}."""

    config: Config
    unet: ColorizeUNet
    vae: dict[str, torch.Tensor]


def initialize(module: nn.Module, zero: tuple[str, ...] = ()) -> nn.Module:
    """PyTorch's own initialization (the host's layers skip it); layers whose name ends in one of `zero` start at 0."""
    for name, layer in module.named_modules():
        kind = next((kind for kind in INITIALIZED if isinstance(layer, kind)), None)
        if kind is None:
            continue
        kind.reset_parameters(layer)
        if name.endswith(zero):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
    return module.requires_grad_(True).float()


def build_autoencoder(ddconfig: dict) -> AutoencoderKL:
    """The Stable Diffusion autoencoder in the shape of `ddconfig`: `encode` gives raw latents [B,4,H/8,W/8]."""
    with torch.device("cpu"):
        autoencoder = AutoencoderKL(ddconfig=ddconfig, embed_dim=ddconfig["z_channels"])
    return initialize(autoencoder)


def build_unet(config: Config) -> ColorizeUNet:
    """The denoiser with its sketch encoder; its residual branches and its output start at zero."""
    return initialize(empty_unet(config), zero=("out_layers.3", "proj_out", "out.2"))


def load_start(path: str, kind: str, token_type: str = "attention") -> StartingPoint:
    """The model of a file of ColorizeDiffusion (kind `checkpoint`) or of Stable Diffusion 2 (`stable_diffusion`).

    The latter gets a new sketch encoder whose hints are zero, so that training starts at what the file computes.
    It warns of a file that was trained on another `token_type`. ValueError names a file of another kind, or an
    incomplete one, and says what is wrong with it.
    """
    name = Path(path).name
    state_dict, metadata = read_state_dict(path)
    has_denoiser = any(key.startswith(UNET_PREFIX) for key in state_dict)
    is_stable_diffusion = has_denoiser and versions.detect_version(state_dict) is None
    if is_stable_diffusion and kind != "stable_diffusion":
        raise ValueError(f"{name} is a Stable Diffusion checkpoint (no sketch encoder): set kind to stable_diffusion.")
    if kind == "stable_diffusion" and not is_stable_diffusion:
        raise ValueError(
            f"{name} is no Stable Diffusion checkpoint: for one of ColorizeDiffusion set kind to checkpoint."
        )
    if is_stable_diffusion:
        versions.warn_of_other_tokens(read_facts(state_dict, metadata, name), name, token_type)
        config, weights = from_stable_diffusion(state_dict, name, token_type)
        unet = empty_unet(config)
        encoder = initialize(unet.control_encoder, zero=HINT_LAYERS).state_dict()
        weights |= {f"control_encoder.{key}": value for key, value in encoder.items()}
    else:
        config = versions.detect(state_dict, name, metadata, token_type=token_type)
        weights = from_published_keys(state_dict, config.version.parts)
        unet = empty_unet(config)
    require_weights(unet, weights, "", name)
    unet.load_state_dict(weights, strict=False)  # a file may hold more than the model
    return StartingPoint(config, unet.requires_grad_(True).float(), vae_weights(state_dict))


def empty_unet(config: Config) -> ColorizeUNet:
    build = host_config(config).unet_class
    return build(**unet_arguments(config.unet), config=config, device="cpu", operations=comfy.ops.disable_weight_init)

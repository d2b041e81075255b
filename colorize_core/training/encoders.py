"""The frozen networks beside the one that is trained: what training sees is what the nodes make of a picture."""

from dataclasses import dataclass
from typing import Any

import torch

from ..host.clip import MissingTower, encode_reference, load_clip
from ..host.load import MissingVAE, build_vae
from ..host.trainable import StartingPoint
from ..host.versions import host_config
from .experiment import Experiment


@dataclass(frozen=True)
class Encoders:
    """The host's VAE and CLIP_VISION."""

    vae: Any
    latent_format: Any
    clip_vision: Any
    token_type: str

    @property
    def size(self) -> int:
        """Bytes of their weights."""
        networks = (self.vae.first_stage_model, self.clip_vision.model)
        return sum(w.numel() * w.element_size() for network in networks for w in network.parameters())

    @torch.no_grad()
    def encode(self, part: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Scaled latents [B,4,h,w] and tokens [B,N,D] of a part's `color` and `reference`, on their device."""
        color, reference = (part[key].add(1).div(2).movedim(1, -1) for key in ("color", "reference"))
        with torch.autocast(color.device.type, enabled=False):
            latent = self.latent_format.process_in(self.vae.encode(color))
            both = encode_reference(self.clip_vision, reference)
            tokens = both.cls if self.token_type == "cls" else both.local
        return latent.to(color), tokens.to(color)


def load_encoders(experiment: Experiment, start: StartingPoint) -> Encoders:
    """ValueError where there is no VAE, no image encoder, or one whose latents or tokens the model does not take."""
    file = (experiment.vae or experiment.start.file).name
    vae = build_vae(dict(start.vae), file)
    if isinstance(vae, MissingVAE):
        raise ValueError(f"vae: {file} holds none; name the file of one, that of Stable Diffusion 1 or 2 fits.")
    channels = vae.encode(torch.zeros(1, 8, 8, 3)).shape[1]
    if channels != start.config.unet.in_channels:
        raise ValueError(
            f"vae: the latents of {file} have {channels} channels and the model takes {start.config.unet.in_channels}; "
            "name the VAE of Stable Diffusion 1 or 2."
        )
    clip_vision, _ = load_clip(str(experiment.clip))
    if isinstance(clip_vision, MissingTower):
        raise ValueError(f"clip: {experiment.clip.name} has no image encoder; name the file of a whole CLIP.")
    encoders = Encoders(vae, host_config(start.config).latent_format, clip_vision, experiment.token_type)
    width = encode_reference(clip_vision, torch.zeros(1, 8, 8, 3)).local.shape[-1]
    if width != start.config.unet.context_dim:
        raise ValueError(
            f"clip: the tokens of {experiment.clip.name} are {width} wide and the model takes "
            f"{start.config.unet.context_dim}; name the CLIP that belongs to the model."
        )
    return encoders

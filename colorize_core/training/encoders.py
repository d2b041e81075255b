"""The frozen networks beside the one that is trained: what training sees is what the nodes make of a picture."""

from dataclasses import dataclass, replace
from typing import Any

import torch

from ..checkpoint.config import Config
from ..host.clip import MissingTower, encode_reference, load_clip
from ..host.load import MissingVAE, build_vae
from ..host.tagger import Tagger, encode_with_tagger, load_tagger
from ..host.trainable import StartingPoint, stack_tokens
from ..host.versions import host_config
from ..tokens import ReferenceTokens
from .experiment import Experiment

FITTING_VAE = "that of Stable Diffusion 1 or 2 fits, for XL that of SDXL"


@dataclass(frozen=True)
class Encoders:
    """The host's VAE and CLIP_VISION for a model of `config`, and the tagger, None where it takes none."""

    config: Config
    vae: Any
    clip_vision: Any
    tagger: Tagger | None

    @property
    def size(self) -> int:
        """Bytes of their weights."""
        networks = [self.vae.first_stage_model, self.clip_vision.model]
        networks += [self.tagger.patcher.model] if self.tagger else []
        return sum(w.numel() * w.element_size() for network in networks for w in network.parameters())

    def reference(self, image: torch.Tensor) -> ReferenceTokens:
        """The tokens of reference pictures [B,H,W,C] in 0..1."""
        tokens = encode_reference(self.clip_vision, image)
        return replace(tokens, tagger=encode_with_tagger(self.tagger, image)) if self.tagger else tokens

    @torch.no_grad()
    def encode(self, part: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Scaled latents [B,4,h,w] and tokens (`stack_tokens`) of a part's `color` and `reference`, on their device."""
        color, reference = (part[key].add(1).div(2).movedim(1, -1) for key in ("color", "reference"))
        with torch.autocast(color.device.type, enabled=False):
            latent = host_config(self.config).latent_format.process_in(self.vae.encode(color))
            tokens = stack_tokens(self.config, self.reference(reference))
        return latent.to(color), tokens.to(color)


def load_encoders(experiment: Experiment, start: StartingPoint) -> Encoders:
    """ValueError where there is no VAE, no image encoder, no tagger for XL, or one that the model does not go with."""
    file = (experiment.vae or experiment.start.file).name
    vae = build_vae(dict(start.vae), file)
    if isinstance(vae, MissingVAE):
        raise ValueError(f"vae: {file} holds none; name the file of one: {FITTING_VAE}.")
    channels = vae.encode(torch.zeros(1, 8, 8, 3)).shape[1]
    if channels != start.config.unet.in_channels:
        raise ValueError(
            f"vae: the latents of {file} have {channels} channels and the model takes {start.config.unet.in_channels}; "
            f"name another: {FITTING_VAE}."
        )
    clip_vision, _ = load_clip(str(experiment.clip))
    if isinstance(clip_vision, MissingTower):
        raise ValueError(f"clip: {experiment.clip.name} has no image encoder; name the file of a whole CLIP.")
    encoders = Encoders(start.config, vae, clip_vision, _load_tagger(experiment, start))
    found = encoders.reference(torch.zeros(1, 8, 8, 3))
    for key, tokens, width in zip(
        ("clip", "tagger"), (found.local, found.tagger), start.config.token_widths, strict=True
    ):
        if tokens is not None and tokens.shape[-1] != width:
            file = getattr(experiment, key) or experiment.start.file
            raise ValueError(
                f"{key}: the tokens of {file.name} are {tokens.shape[-1]} wide and the model takes {width}; name the "
                f"{'CLIP' if key == 'clip' else key} that belongs to the model."
            )
    return encoders


def _load_tagger(experiment: Experiment, start: StartingPoint) -> Tagger | None:
    """XL's, of its own file or that of the start, which may hold it."""
    version = start.config.version.name
    if not start.config.token_widths[1]:
        if experiment.tagger:
            raise ValueError(f"tagger: {version} looks at its references through CLIP alone; leave it out.")
        return None
    try:
        return load_tagger(str(experiment.tagger or experiment.start.file))
    except ImportError as error:
        raise ValueError(f"tagger: {error}") from error
    except ValueError as error:
        if experiment.tagger:
            raise
        raise ValueError(
            f"tagger: is missing, and {experiment.start.file.name} holds none; {version} looks at its references "
            "through one too: name the file of wd-v1-4-swinv2-tagger-v2."
        ) from error

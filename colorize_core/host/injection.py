"""Reference injection: a pass over a reference picture, to which the self-attentions of the picture then attend too.

At each step the reference is noised to the step's level and goes through the model with the picture's own
conditioning. What its self-attentions saw is the bank. With u = attention(x, [x, bank]) a row of the batch becomes u,
and one whose reference is dropped becomes f attention(x, x) + (1 - f) u, f being the style fidelity.
"""

from dataclasses import dataclass
from functools import partial

import comfy.conds
import torch
from comfy.ldm.modules.attention import CrossAttention

from ..images import reduced_size, resize, rgb_on
from ..networks.sketch_encoder import HINT_BLOCKS
from ..sketch import Sketch

INJECTION = "colorize_injection"  # key of the Injection in the conditions of a run, and of what puts it there

# Keywords of the model's forward pass, and of the conditions that they are made of.
LATENT = "injection_latent"
NOISE = "injection_noise"
START = "injection_start"
OWN_SHARE = "injection_own_share"
HINTS = tuple(f"injection_hint_{k}" for k in range(len(HINT_BLOCKS)))

# Keys of transformer_options, within one forward pass.
WRITE = "colorize_bank_write"
READ = "colorize_bank_read"

LONGEST_SIDE = 512  # what the models were trained at; more would cost more and not be closer to it
SIDE_MULTIPLE = 64


@dataclass(frozen=True)
class Injection:
    """A reference to inject: its `latent` [b,4,h,w] as the VAE gives it, and its own sketch or None.

    The fidelities are 0..1; `start_percent` is the part of the run, 0..1, before which nothing is injected.
    """

    latent: torch.Tensor
    sketch: Sketch | None
    style_fidelity: float
    sketch_fidelity: float
    start_percent: float


class BankSelfAttention(CrossAttention):
    """The host's self-attention, that can write what it attends to into a bank, or attend to what a bank holds.

    A block whose self-attention another patch replaces never comes here and stays without the reference.
    """

    def forward(self, x, context=None, value=None, mask=None, transformer_options={}):  # noqa: B006 (the host's)
        attend = partial(super().forward, x, mask=mask, transformer_options=transformer_options)
        if WRITE not in transformer_options and READ not in transformer_options:
            return attend(context, value)

        context = x if context is None else context
        value = context if value is None else value
        block = (*transformer_options["block"], transformer_options["block_index"])
        if WRITE in transformer_options:
            transformer_options[WRITE][block] = context, value
            return attend(context, value)

        if len(x) != len(context):  # another patch has cut the queries into tiles that see a part of the picture each
            return attend(context, value)
        bank, own_share = transformer_options[READ]
        both = attend(*(torch.cat(pair, dim=1) for pair in zip((context, value), bank[block], strict=True)))
        if own_share is None:
            return both
        return torch.lerp(both, attend(context, value), own_share[:, None, None])


def encode_picture(vae, image: torch.Tensor, channels: int) -> torch.Tensor:
    """The latent [B,4,h,w] of `image` [B,H,W,C], reduced to LONGEST_SIDE and stretched to multiples of SIDE_MULTIPLE.

    Transparent parts count as white. ValueError if the picture is none, or the VAE's latents have not `channels`.
    """
    pixels = rgb_on(image, paper=1.0, name="image").clamp(0, 1).movedim(-1, 1)
    pixels = resize(pixels, *reduced_size(*pixels.shape[2:], LONGEST_SIDE, SIDE_MULTIPLE))
    latent = vae.encode(pixels.movedim(1, -1))
    if latent.ndim != 4 or latent.shape[1] != channels:
        raise ValueError(
            f"vae: its latents have the shape {list(latent.shape)} where the model takes [batch, {channels}, "
            "height, width]. Connect the VAE of the model's checkpoint."
        )
    return latent


def add_to_conditions(injection: Injection):
    """An OUTER_SAMPLE wrapper: all conditions of the run carry the injection, whatever made them."""

    def wrapper(executor, *args, **kwargs):
        guider = executor.class_obj
        guider.conds = {name: [cond | {INJECTION: injection} for cond in conds] for name, conds in guider.conds.items()}
        return executor(*args, **kwargs)

    return wrapper


def make_noise(latent: torch.Tensor, seed: int | None) -> torch.Tensor:
    """Noise for the reference: the same for the same seed, and another than the picture's own, made of the seed itself.

    Without a seed, as for a caller that makes its own noise, it is that of seed 0.
    """
    generator = torch.Generator().manual_seed((seed or 0) ^ 1)
    return torch.randn(latent.shape, generator=generator)


def make_conditions(injection, latent, noise, hints, start_sigma, dropped, device) -> dict:
    """What a condition says of the injection. `dropped` [b] tells the rows without a reference.

    A start at 0 and a style fidelity of 0 are left out: to ask a device for them at each step is to wait for it.

    Maps get an axis of one before height and width: nodes that cut a picture into tiles cut what has four dimensions.
    """
    maps = {LATENT: latent, NOISE: noise}
    if hints is not None:
        maps |= dict(zip(HINTS, hints, strict=True))
    tensors = {name: tensor.to(device).unsqueeze(2) for name, tensor in maps.items()}
    if injection.start_percent > 0:
        tensors[START] = torch.tensor([start_sigma], device=device)
    if injection.style_fidelity > 0:
        tensors[OWN_SHARE] = dropped.to(device) * injection.style_fidelity
    return {name: comfy.conds.CONDRegular(tensor) for name, tensor in tensors.items()}


def take_from(keywords: dict) -> dict:
    """The conditions of an injection, taken out of a pass' keywords; empty if there are none."""
    return {name: keywords.pop(name) for name in (LATENT, NOISE, START, OWN_SHARE, *HINTS) if name in keywords}


def keywords_at(sigma: torch.Tensor, conditions: dict, model_sampling) -> dict:
    """The forward pass' keywords at noise levels `sigma` [B]; none before the start, so that nothing is spent there."""
    if not conditions or (START in conditions and (sigma > conditions[START]).any()):
        return {}
    noisy = model_sampling.noise_scaling(sigma, conditions[NOISE], conditions[LATENT])
    keywords = {name: conditions[name].squeeze(2) for name in HINTS if name in conditions}
    keywords[LATENT] = model_sampling.calculate_input(sigma, noisy).squeeze(2)
    if OWN_SHARE in conditions and conditions[OWN_SHARE].any():
        keywords[OWN_SHARE] = conditions[OWN_SHARE]
    return keywords

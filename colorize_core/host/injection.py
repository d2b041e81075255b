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
from comfy.patcher_extension import WrappersMP

from ..images import SIZE_MULTIPLE, reduced_size, resize, rgb_on
from ..sketch import Sketch
from .feature import Feature, Step, UNetPass
from .hints import encode_sketch, with_maps
from .reference import in_use

INJECTION = "colorize_injection"  # key of the Injection in the conditions of a run, and of what puts it there

# Keywords of the model's forward pass, and of the conditions that they are made of.
KEYWORDS_PREFIX = "injection_"
LATENT = "injection_latent"
NOISE = "injection_noise"
START = "injection_start"
OWN_SHARE = "injection_own_share"

# Keys of transformer_options, within one forward pass.
WRITE = "colorize_bank_write"
READ = "colorize_bank_read"


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


def with_reference_injection(
    model,
    vae,
    image: torch.Tensor,
    sketch: Sketch | None,
    style_fidelity: float,
    sketch_fidelity: float,
    start_percent: float,
):
    """A clone of the MODEL `model` that looks at the picture `image` [B,H,W,C] while it makes its own.

    An earlier injection is replaced. ValueError for a VAE that is not the model's own or missing, or an empty picture.
    """
    patched = model.clone()
    config = model.model.config
    latent = encode_picture(vae, image, model.model.latent_format.latent_channels, config.version.side)
    injection = Injection(latent, sketch, style_fidelity, sketch_fidelity, start_percent)
    patched.remove_wrappers_with_key(WrappersMP.OUTER_SAMPLE, INJECTION)
    patched.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, INJECTION, add_to_conditions(injection))
    return patched


def encode_picture(vae, image: torch.Tensor, channels: int, longest: int) -> torch.Tensor:
    """The latent [B,4,h,w] of `image` [B,H,W,C], reduced to a longer side of `longest`, the side that the model was
    trained at: more would cost more and not be closer to it.

    Transparent parts count as white. ValueError if the picture is none, or the VAE's latents have not `channels`.
    """
    pixels = rgb_on(image, paper=1.0, name="image").clamp(0, 1).movedim(-1, 1)
    pixels = resize(pixels, *reduced_size(*pixels.shape[2:], longest, SIZE_MULTIPLE))
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


def hint_keywords(count: int) -> tuple[str, ...]:
    """The keywords of the maps of the reference's own sketch."""
    return tuple(f"{KEYWORDS_PREFIX}hint_{k}" for k in range(count))


def conds(model, cond: dict) -> dict:
    """A start at 0 and a style fidelity of 0 are left out: to ask a device for them at each step is to wait for it.

    Maps get an axis of one before height and width: nodes that cut a picture into tiles cut what has four dimensions.
    """
    if INJECTION not in cond:
        return {}
    injection, device = cond[INJECTION], cond["device"]
    latent = model.process_latent_in(injection.latent)
    maps = {LATENT: latent, NOISE: make_noise(latent, cond.get("seed"))}
    if injection.sketch is not None and injection.sketch_fidelity > 0:
        strength = injection.sketch.strength * injection.sketch_fidelity
        hints = encode_sketch(model, injection.sketch.pixels, latent, device)
        maps |= {name: hint * strength for name, hint in zip(hint_keywords(len(hints)), hints, strict=True)}
    tensors = {name: tensor.to(device).unsqueeze(2) for name, tensor in maps.items()}
    if injection.start_percent > 0:
        tensors[START] = torch.tensor([model.model_sampling.percent_to_sigma(injection.start_percent)], device=device)
    if injection.style_fidelity > 0:
        tensors[OWN_SHARE] = ~in_use(cond["cross_attn"]) * injection.style_fidelity
    return {name: comfy.conds.CONDRegular(tensor) for name, tensor in tensors.items()}


def shapes(cond: dict) -> dict:
    return {LATENT: list(cond[INJECTION].latent.shape)} if INJECTION in cond else {}


def keywords(step: Step, keywords: dict) -> dict:
    """Those of a pass at the step's noise levels; none before the start, so that nothing is spent there."""
    own = {name: keywords[name] for name in keywords if name.startswith(KEYWORDS_PREFIX)}
    others = {name: value for name, value in keywords.items() if name not in own}
    if not own or (START in own and (step.sigma > own[START]).any()):
        return others
    noisy = step.model_sampling.noise_scaling(step.sigma, own.pop(NOISE), own[LATENT])
    own.pop(START, None)
    if OWN_SHARE in own and not own[OWN_SHARE].any():
        del own[OWN_SHARE]
    own[LATENT] = step.model_sampling.calculate_input(step.sigma, noisy)
    return others | {name: value if name == OWN_SHARE else value.squeeze(2) for name, value in own.items()}


def options(unet_pass: UNetPass, options: dict) -> dict:
    """The first pass, over the reference, and what the second then reads."""
    own = unet_pass.keywords
    latent, own_share = own.pop(LATENT, None), own.pop(OWN_SHARE, None)
    names = hint_keywords(len(unet_pass.unet.config.version.hints.blocks))
    maps = [own.pop(name, None) for name in names]
    if latent is None:
        return options
    bank = {}
    unet_pass.run(latent, with_maps(unet_pass.unet, options, maps) | {WRITE: bank})
    return options | {READ: (bank, own_share)}


FEATURE = Feature(conds=conds, keywords=keywords, options=options, shapes=shapes, memory_keywords=(LATENT,))

"""Figure and background as a feature: two branches of the cross-attentions, one where the sketch's mask is and one
where it is not. What each branch attends to, and whether it has weights of its own, is the version's."""

from dataclasses import dataclass, fields

import comfy.conds
import torch
from comfy.utils import repeat_to_batch_size

from .. import versions
from ..figure import Figure, figure_weights, resize_mask
from .branches import BRANCHES, Branch, Branches
from .feature import Feature, UNetPass, Wish
from .reference import CONTEXT, TOKENS_PREFIX, in_use, to_context

FIGURE_PREFIX = "colorize_figure_"  # of a CONDITIONING's keys: the name of a field of Figure follows
ENCODED = FIGURE_PREFIX + "reference"  # the reference's own tokens [B,N,D], even where it is dropped

# Keywords of a run.
BACKGROUND = TOKENS_PREFIX + "background"  # [B,M,D]
FIGURE_MASK = "figure_mask"  # [B,1,h,w]
NUMBERS = "figure_numbers"  # [B,4]: threshold, merging, strengths of foreground and background
LORAS = "figure_loras"

# Keys of transformer_options within a pass.
IN_FIGURE = "colorize_in_figure"  # an `in_figure` of its mask
SOFT_FIGURE = "colorize_soft_figure"  # the mask itself [B,1,h,w]


@dataclass(frozen=True)
class Split:
    """Tokens of the figure's branch [B,N,D] and of the background's [B,M,D], and the LoRA of each, None for none."""

    foreground: torch.Tensor
    background: torch.Tensor
    loras: tuple[str | None, str | None] = (None, None)


def entries(wish: Wish) -> dict:
    figure = wish.tokens.figure
    if figure is None:
        return {}
    values = {FIGURE_PREFIX + field.name: getattr(figure, field.name) for field in fields(Figure)}
    return {key: value for key, value in values.items() if value is not None} | {ENCODED: wish.encoded.local}


def figure_of(cond: dict) -> Figure | None:
    """The figure of a CONDITIONING, if it has one. ValueError if a part of it has another shape."""
    values = {
        field.name: cond[FIGURE_PREFIX + field.name] for field in fields(Figure) if FIGURE_PREFIX + field.name in cond
    }
    return Figure(**values) if values else None


def conds(model, cond: dict) -> dict:
    figure = figure_of(cond)
    if figure is None:
        return {}
    check_version(model.config.version, figure)
    check_parts(figure)
    if not (figure.background_enhance or figure.foreground_enhance):
        return {}
    batch, device = len(cond["noise"]), cond["device"]
    reference = repeat_to_batch_size(cond["cross_attn"], batch).to(device, model.get_dtype_inference())
    background = repeat_to_batch_size(background_tokens(model, figure, reference), batch)
    split = model.diffusion_model.split(figure, reference, background)
    present = in_use(reference)[:, None, None]
    mask = model.diffusion_model.latent_mask(figure.sketch_mask, *cond["noise"].shape[2:])
    numbers = [figure.sketch_threshold, figure.merging, figure.foreground_strength, figure.background_strength]
    return {
        CONTEXT: comfy.conds.CONDCrossAttn(split.foreground * present),
        BACKGROUND: comfy.conds.CONDCrossAttn(split.background * present),
        FIGURE_MASK: comfy.conds.CONDNoiseShape(mask.to(device)),
        NUMBERS: comfy.conds.CONDRegular(torch.tensor([numbers], device=device)),
        LORAS: comfy.conds.CONDConstant(split.loras),
    }


def options(unet_pass: UNetPass, options: dict) -> dict:
    own = unet_pass.keywords
    mask, background, loras, numbers = (own.pop(key, None) for key in (FIGURE_MASK, BACKGROUND, LORAS, NUMBERS))
    if mask is None:
        return options
    stop = own["context"].shape[1]
    own["context"] = torch.cat([own["context"], background], dim=1)

    def weigh(height, width, adapted):
        return unet_pass.unet.figure_weights(mask, numbers, (height, width), adapted)

    def is_kept(size):
        return in_figure(mask, numbers[:, 0], size, inclusive=False)

    branches = [Branch(0, stop, loras[0]), Branch(stop, stop + background.shape[1], loras[1])]
    return options | {BRANCHES: Branches(branches, weigh), IN_FIGURE: is_kept, SOFT_FIGURE: mask}


FEATURE = Feature(entries=entries, conds=conds, options=options)


def hard_figure_weights(mask: torch.Tensor, numbers: torch.Tensor, size: tuple[int, int], adapted: bool):
    """What the branches count [B,2,h,w] in a block of that size: the figure is where the mask reaches the threshold."""
    threshold, *shares = numbers.unbind(dim=1)
    return figure_weights(in_figure(mask, threshold, size, inclusive=not adapted), *shares)


def in_figure(mask: torch.Tensor, threshold: torch.Tensor, size: tuple[int, int], inclusive: bool) -> torch.Tensor:
    """Where a block of that size is in the figure, [B,1,h,w], from the latent's `mask` and `threshold` [B].

    `inclusive` counts a mask equal to the threshold; so do the attentions that have no LoRA.
    """
    mask, threshold = resize_mask(mask, size), threshold[:, None, None, None]
    return mask >= threshold if inclusive else mask > threshold


def background_tokens(model, figure: Figure, reference: torch.Tensor) -> torch.Tensor:
    """The background's tokens of the kind that the model takes; the `reference` itself where there is no background."""
    if figure.background_local is None:
        return reference
    tokens = figure.background_cls, figure.background_local, figure.background_tagger
    return to_context(model, tokens, reference.device, "background")


def check_version(version: versions.Version, figure: Figure) -> None:
    """ValueError for an option of the figure that the model's version does not have."""
    for option in ("background_enhance", "foreground_enhance", "style_enhance"):
        if getattr(figure, option) and option not in version.figure_options:
            having = ", ".join(v.name for v in reversed(versions.VERSIONS) if option in v.figure_options)
            raise ValueError(
                f"{option}: ColorizeDiffusion {version.name} does not have it; these have: {having}. Turn it off in "
                "Figure and Background, or load another checkpoint."
            )


def check_parts(figure: Figure) -> None:
    """ValueError where the figure of a CONDITIONING has lost a part that its options need."""
    needed = ("sketch_mask",) if figure.background_enhance or figure.foreground_enhance else ()
    needed += ("reference_latent", "reference_size") if figure.style_enhance else ()
    needed += ("background_size",) if figure.background_latent is not None else ()
    for name in needed:
        if getattr(figure, name) is None:
            raise ValueError(
                f"conditioning: its figure has no {name}. Connect Figure and Background and Colorize Conditioning anew."
            )

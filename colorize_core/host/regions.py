"""Regions: other references that count where their masks on the sketch say, in the same pass."""

import comfy.conds
import torch
import torch.nn.functional as F

from ..images import repeat_to
from ..regions import fit_mask, region_weights
from .branches import BRANCHES, Branch, Branches
from .feature import Feature, UNetPass, Wish
from .reference import TOKENS_PREFIX, in_use

# Keys of a CONDITIONING: lists with an entry for each region.
REGION_LOCAL = "colorize_region_tokens"  # [b,N,D]
REGION_CLS = "colorize_region_cls"  # [b,1,D]
MASKS = "colorize_region_masks"  # [m,h,w] in 0..1, on the sketch
STRENGTHS = "colorize_region_strengths"

# Keywords of a pass.
MASKS_KEYWORD = "region_masks"
STRENGTHS_KEYWORD = "region_strengths"


def tokens_keyword(index: int) -> str:
    return f"{TOKENS_PREFIX}region_{index}"


def entries(wish: Wish) -> dict:
    regions = wish.tokens.regions
    if not regions:
        return {}
    return {
        REGION_LOCAL: [region.tokens.local for region in regions],
        REGION_CLS: [region.tokens.cls for region in regions],
        MASKS: [region.mask for region in regions],
        STRENGTHS: [region.strength for region in regions],
    }


def conds(model, cond: dict) -> dict:
    """Where the reference of the whole is dropped, those of the regions are too."""
    if MASKS not in cond:
        return {}
    latent, device, context = cond["noise"], cond["device"], cond["cross_attn"]
    count, _, height, width = latent.shape
    of_kind = cond[REGION_CLS if model.config.token_type == "cls" else REGION_LOCAL]
    used = repeat_to(in_use(context), count)[:, None, None]
    out = {}
    for index, tokens in enumerate(of_kind):
        check_region(index, tokens, cond[MASKS][index], context.shape[-1], count)
        tokens = repeat_to(tokens.to(device), count) * used
        out[tokens_keyword(index)] = comfy.conds.CONDRegular(tokens)
    masks = torch.stack([repeat_to(fit_mask(mask, height, width), count) for mask in cond[MASKS]], dim=1)
    strengths = torch.tensor([cond[STRENGTHS]], device=device)
    out[MASKS_KEYWORD] = comfy.conds.CONDNoiseShape(masks.to(device))
    out[STRENGTHS_KEYWORD] = comfy.conds.CONDRegular(strengths)
    return out


def options(unet_pass: UNetPass, options: dict) -> dict:
    own = unet_pass.keywords
    masks, strengths = own.pop(MASKS_KEYWORD, None), own.pop(STRENGTHS_KEYWORD, None)
    if masks is None:
        return options
    tokens = [own["context"], *(own.pop(tokens_keyword(index)) for index in range(masks.shape[1]))]
    own["context"] = torch.cat(tokens, dim=1)

    def weigh(height, width, adapted):
        return region_weights(F.interpolate(masks, (height, width), mode="area"), strengths)

    return options | {BRANCHES: Branches(consecutive(tokens), weigh)}


FEATURE = Feature(entries=entries, conds=conds, options=options)


def consecutive(tokens: list[torch.Tensor]) -> list[Branch]:
    """A branch for each of the contexts [B,N,D] that lie one after the other."""
    stops = torch.tensor([part.shape[1] for part in tokens]).cumsum(0).tolist()
    return [Branch(stop - part.shape[1], stop) for part, stop in zip(tokens, stops, strict=True)]


def check_region(index: int, tokens: torch.Tensor, mask: torch.Tensor, width: int, count: int) -> None:
    """ValueError for a region, counted from 0, whose tokens or masks do not fit the model or the `count` pictures."""
    if tokens.shape[-1] != width:
        raise ValueError(
            f"region_tokens of region {index + 1}: they are {tokens.shape[-1]} wide and the model takes {width}. "
            "Encode the region's reference with the CLIP that belongs to this checkpoint."
        )
    if len(mask) > count:
        raise ValueError(
            f"mask of region {index + 1}: there are {len(mask)} masks for {count} picture(s). Give one for all, or one "
            "for each."
        )

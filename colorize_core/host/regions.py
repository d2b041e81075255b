"""Regions: other references that count where their masks on the sketch say, in the same pass."""

import comfy.conds
import torch
import torch.nn.functional as F

from ..images import repeat_to
from ..regions import fit_mask, region_weights
from ..tokens import ReferenceTokens, Region
from .branches import BRANCHES, Branch, Branches
from .feature import Feature, UNetPass, Wish
from .reference import TOKENS_PREFIX, in_use, to_context

# Keys of a CONDITIONING: lists with an entry for each region.
REGION_LOCAL = "colorize_region_tokens"  # [b,N,D]
REGION_CLS = "colorize_region_cls"  # [b,1,D]
REGION_TAGGER = "colorize_region_tagger"  # [b,M,E], where all regions have one
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
    values = {
        REGION_LOCAL: [region.tokens.local for region in regions],
        REGION_CLS: [region.tokens.cls for region in regions],
        MASKS: [region.mask for region in regions],
        STRENGTHS: [region.strength for region in regions],
    }
    taggers = [region.tokens.tagger for region in regions]
    return values if any(tagger is None for tagger in taggers) else values | {REGION_TAGGER: taggers}


def conds(model, cond: dict) -> dict:
    """Where the reference of the whole is dropped, those of the regions are too."""
    if MASKS not in cond:
        return {}
    latent, device, context = cond["noise"], cond["device"], cond["cross_attn"]
    count, _, height, width = latent.shape
    used = repeat_to(in_use(context), count)[:, None, None]
    out, regions = {}, regions_of(cond)
    for index, region in enumerate(regions):
        check_count_of_masks(index, region.mask, count)
        parts = region.tokens.cls, region.tokens.local, region.tokens.tagger
        tokens = to_context(model, parts, device, f"region_tokens of region {index + 1}")
        out[tokens_keyword(index)] = comfy.conds.CONDRegular(repeat_to(tokens, count) * used)
    masks = torch.stack([repeat_to(fit_mask(region.mask, height, width), count) for region in regions], dim=1)
    strengths = torch.tensor([[region.strength for region in regions]], device=device)
    out[MASKS_KEYWORD] = comfy.conds.CONDNoiseShape(masks.to(device))
    out[STRENGTHS_KEYWORD] = comfy.conds.CONDRegular(strengths)
    return out


def regions_of(cond: dict) -> list[Region]:
    """The regions of a CONDITIONING. ValueError if a part of one is missing or has another shape."""
    cls, local, masks, strengths = (cond.get(key, ()) for key in (REGION_CLS, REGION_LOCAL, MASKS, STRENGTHS))
    taggers = cond.get(REGION_TAGGER, [None] * len(local))
    if not len(cls) == len(local) == len(taggers) == len(masks) == len(strengths) > 0:
        raise ValueError("conditioning: its regions have no equal number of parts. Connect Colorize Conditioning anew.")
    tokens = map(ReferenceTokens, cls, local, taggers)
    return list(map(Region, tokens, masks, strengths))


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


def check_count_of_masks(index: int, mask: torch.Tensor, count: int) -> None:
    """ValueError for a region, counted from 0, with more masks than there are pictures."""
    if len(mask) > count:
        raise ValueError(
            f"mask of region {index + 1}: there are {len(mask)} masks for {count} picture(s). Give one for all, or one "
            "for each."
        )

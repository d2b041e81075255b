"""The part of the run in which the reference counts; outside of it, it counts as dropped."""

import comfy.conds
import torch

from .feature import Feature, Step, Wish
from .reference import CONTEXT, TOKENS_PREFIX

# Keys of a CONDITIONING: parts of the whole run from noise to picture, 0..1.
START_PERCENT = "colorize_start_percent"
END_PERCENT = "colorize_end_percent"

INTERVAL = "reference_interval"


def entries(wish: Wish) -> dict:
    return {START_PERCENT: wish.start_percent, END_PERCENT: wish.end_percent}


def conds(model, cond: dict) -> dict:
    percents = cond.get(START_PERCENT, 0.0), cond.get(END_PERCENT, 1.0)
    sigmas = [model.model_sampling.percent_to_sigma(percent) for percent in percents]
    return {INTERVAL: comfy.conds.CONDRegular(torch.tensor([sigmas], device=cond["device"]))}


def keywords(step: Step, keywords: dict) -> dict:
    keywords = dict(keywords)
    interval = keywords.pop(INTERVAL, None)
    if interval is None:
        return keywords
    start, end = interval.to(step.sigma).unbind(dim=1)
    inside = (step.sigma <= start) & (step.sigma >= end)
    tokens = [name for name in keywords if name == CONTEXT or name.startswith(TOKENS_PREFIX)]
    return keywords | {name: keywords[name] * inside.reshape(-1, *[1] * (keywords[name].ndim - 1)) for name in tokens}


FEATURE = Feature(entries=entries, conds=conds, keywords=keywords)

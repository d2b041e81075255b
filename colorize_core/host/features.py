"""All conditioning features, in the order in which they act. Injection comes last: it runs a pass with all others."""

from . import block_cache, dropping, figure, hints, injection, interval, regions, strength

BEFORE_INJECTION = (
    hints.FEATURE,
    dropping.FEATURE,  # before whatever patches the cross-attentions
    strength.FEATURE,
    interval.FEATURE,
    regions.FEATURE,
    figure.FEATURE,
    block_cache.FEATURE,
)
FEATURES = (*BEFORE_INJECTION, injection.FEATURE)

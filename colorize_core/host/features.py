"""All conditioning features, in the order in which they act. Injection comes last: it runs a pass with all others."""

from . import hints, injection, interval, regions, strength

FEATURES = (hints.FEATURE, strength.FEATURE, interval.FEATURE, regions.FEATURE, injection.FEATURE)

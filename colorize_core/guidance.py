"""How much reference and sketch count: guidance with two unconditionals, and strengths per attention block.

Source: arXiv 2401.01456 (guidance by reference and by sketch). The strengths scale softmax(q k) v of a cross-attention
[B,tokens,C] before its output projection.
"""

import re
from collections.abc import Sequence

from .checkpoint.config import AttentionLayout

LARGEST_STRENGTH = 100  # far beyond any use, and far from what overflows


def effective_guidance(reference: float, sketch: float) -> tuple[float, float]:
    """Dual guidance as ordinary classifier-free guidance: (scale, share).

    With predictions [B,C,H,W] e (everything), e_r (no reference) and e_s (no sketch), and guidances g_r, g_s > 1, the
    published formula is the mean of e_r + g_r (e - e_r) and e_s + g_s (e - e_s). That equals u + scale (e - u) against
    u = share e_r + (1 - share) e_s. A guidance of 1 or less is off, and its unconditional has no share; with both off
    the scale is 1.
    """
    if reference <= 1 and sketch <= 1:
        return 1.0, 1.0
    if sketch <= 1:
        return reference, 1.0
    if reference <= 1:
        return sketch, 0.0
    return (reference + sketch) / 2, (reference - 1) / (reference + sketch - 2)


def reference_strengths(
    layout: AttentionLayout, strength: float = 1.0, encoder: float = 1.0, color: float = 1.0, semantics: float = 1.0
) -> tuple[float, ...]:
    """A factor for each cross-attention of `layout`: `strength` times that of its level, if it is of one."""
    levels = {layout.encoder: encoder, layout.color: color, layout.semantics: semantics}
    factors = {block: level for blocks, level in levels.items() for block in blocks}
    return tuple(strength * factors.get(block, 1.0) for block in range(layout.count))


def parse_factors(text: str, name: str) -> tuple[float, ...]:
    """Numbers from the text of the input `name`, parted by commas or spaces. ValueError if it holds anything else."""
    words = [word for word in re.split(r"[\s,;]+", text) if word]
    try:
        factors = tuple(float(word) for word in words)
    except ValueError as error:
        raise ValueError(f"{name}: {str(error)[:80]}; write numbers such as 1, 0.5, 1.") from error
    if not all(abs(factor) <= LARGEST_STRENGTH for factor in factors):  # NaN is not
        raise ValueError(f"{name}: write numbers from {-LARGEST_STRENGTH} to {LARGEST_STRENGTH}.")
    return factors


def check_count(factors: Sequence[float], count: int, name: str) -> None:
    """ValueError, for the input `name`, unless there are `count` factors."""
    if len(factors) != count:
        raise ValueError(f"{name} has {len(factors)} numbers: this model takes {count}, or none to leave it out.")

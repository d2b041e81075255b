"""How much reference and sketch count: guidance with two unconditionals, and strengths per attention block.

Source: arXiv 2401.01456 (guidance by reference and by sketch). The strengths scale softmax(q k) v of a cross-attention
[B,tokens,C] before its output projection.
"""

import re

ATTENTION_BLOCKS = 16  # cross-attentions in order: 0-5 input blocks, 6 middle, 7-15 output blocks
ENCODER_BLOCKS = (0, 1)
COLOR_BLOCKS = (2, 3, 10, 11, 12)
SEMANTICS_BLOCKS = (4, 5, 7, 8, 9)


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
    strength: float = 1.0, encoder: float = 1.0, color: float = 1.0, semantics: float = 1.0
) -> tuple[float, ...]:
    """A factor for each cross-attention: `strength` times that of its level. Blocks 6 and 13-15 are of no level."""
    levels = {ENCODER_BLOCKS: encoder, COLOR_BLOCKS: color, SEMANTICS_BLOCKS: semantics}
    factors = {block: level for blocks, level in levels.items() for block in blocks}
    return tuple(strength * factors.get(block, 1.0) for block in range(ATTENTION_BLOCKS))


def parse_strengths(per_block: str) -> tuple[float, ...]:
    """16 numbers from text, parted by commas or spaces. ValueError if it holds anything else."""
    words = [word for word in re.split(r"[\s,;]+", per_block) if word]
    try:
        numbers = tuple(float(word) for word in words)
    except ValueError as error:
        raise ValueError(f"per_block: {error}; write {ATTENTION_BLOCKS} numbers such as 1, 0.5, 1, ...") from error
    if len(numbers) != ATTENTION_BLOCKS:
        raise ValueError(f"per_block has {len(numbers)} numbers: it takes {ATTENTION_BLOCKS}, or none to leave it out.")
    return numbers

"""Text manipulation: move a reference's tokens along directions in the joint space of CLIP's pictures and words.

Tokens are CLIP's projected image tokens, not normalized; texts are L2-normalized text features of the same CLIP. The
correlation of a token v with a text t is the dot product v . t. Source: arXiv 2401.01456 (text-based manipulation).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .images import checked_mask, repeat_to
from .tokens import ReferenceTokens

THRESHOLDS = (0.5, 0.55, 0.65, 0.95)  # the published defaults
HISTOGRAM_BINS = 128


def require_clip_alone(tokens: ReferenceTokens) -> None:
    """ValueError for tokens that words cannot change: XL mixes a tagger's into CLIP's, which alone know words."""
    if tokens.tagger is not None:
        raise ValueError(
            "tokens: they were made with a tagger, for XL, which words cannot change: it mixes what its two image "
            "encoders see into tokens of its own. Use another reference, or Region Reference for a part of it."
        )


def manipulate_global(
    cls: torch.Tensor,
    target: torch.Tensor,
    anchor: torch.Tensor | None = None,
    scale: float = 5.0,
    enhance: bool = False,
) -> torch.Tensor:
    """The CLS tokens `cls` [B,1,D] moved to the text `target` [D], away from `anchor` [D] if there is one.

    anchor:              v + s (t - a)
    anchor, enhance:     v - (v.a) a + s t
    no anchor:           v + (s - v.t) t, which sets the correlation with t to s
    no anchor, enhance:  v + s t
    Raises ValueError for tokens that are not finite.
    """
    check_finite(cls)
    if anchor is not None:
        if enhance:
            return cls - correlation(cls, anchor)[..., None] * anchor + scale * target
        return cls + scale * (target - anchor)
    if enhance:
        return cls + scale * target
    return cls + (scale - correlation(cls, target))[..., None] * target


@dataclass(frozen=True)
class LocalEdit:
    """A local edit: the changed tokens `local` [B,N,D], how far each was moved (`weights` [B,N] in -2..1, times the
    mask), and the `thresholds` [B,4] that said so, None where all tokens move alike."""

    local: torch.Tensor
    weights: torch.Tensor
    thresholds: torch.Tensor | None


def local_edit(
    cls: torch.Tensor,
    local: torch.Tensor,
    target: torch.Tensor,
    anchor: torch.Tensor | None = None,
    control: torch.Tensor | None = None,
    scale: float = 8.0,
    enhance: bool = False,
    thresholds: Sequence[float] | None = THRESHOLDS,
    mask: torch.Tensor | None = None,
) -> LocalEdit:
    """`manipulate_local` of the tokens that are like the text `control` [D], or of all where it is None.

    `thresholds` None are found from the tokens (`auto_thresholds`). `mask` [M,H,W] or [H,W] in 0..1 lies over the
    reference, whose tokens then form a square. Raises ValueError as `checked_thresholds`, `manipulate_local`,
    `token_grid` and `mask_to_tokens` do.
    """
    count, size = local.shape[:2]
    found = None
    weights = local.new_ones(count, size)
    if control is not None:
        position = positions(correlation(local, control))
        if thresholds is None:
            found = auto_thresholds(position)
        else:
            found = checked_thresholds(thresholds).to(position).expand(count, -1)
        weights = position_weights(position, found)
    part = None if mask is None else repeat_to(mask_to_tokens(mask, token_grid(size)), count).to(weights)
    moved = manipulate_local(cls, local, weights, target, anchor, scale, enhance, part)
    return LocalEdit(moved, weights if part is None else weights * part, found)


def manipulate_local(
    cls: torch.Tensor,
    local: torch.Tensor,
    weights: torch.Tensor,
    target: torch.Tensor,
    anchor: torch.Tensor | None = None,
    scale: float = 8.0,
    enhance: bool = False,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """The local tokens `local` [B,N,D] moved to the text `target` [D], each by its weight (`position_weights`, [B,N]).

    d = s - v_cls.t, or s - v_cls.a with an anchor and enhance, from the CLS token `cls` [B,1,D];
    no anchor:  v_i + d w_i t
    anchor:     v_i + (d w_i + b_i) (t - a), where b_i = v_i.a with enhance, else 0
    `mask` [B,N] in 0..1 scales what is added to each token. Raises ValueError for tokens that are not finite.
    """
    check_finite(local)
    swap = anchor is not None and enhance
    distance = scale - correlation(cls, anchor if swap else target)
    amount = distance * weights
    if swap:
        amount = amount + correlation(local, anchor)
    if mask is not None:
        amount = amount * mask
    direction = target if anchor is None else target - anchor
    return local + amount[..., None] * direction


def correlation(tokens: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
    """The dot product of each of `tokens` [B,N,D] with `text` [D]: [B,N]. Raises ValueError as `check_finite` does."""
    check_finite(tokens)
    return tokens @ text


def positions(correlations: torch.Tensor) -> torch.Tensor:
    """`correlations` [B,N] min-max normalized to 0..1 over each reference's tokens; 1 where all of them are equal."""
    low = correlations.amin(dim=1, keepdim=True)
    span = correlations.amax(dim=1, keepdim=True) - low
    return torch.where(span > 0, (correlations - low) / span, 1.0)


def position_weights(position: torch.Tensor, thresholds: torch.Tensor) -> torch.Tensor:
    """The position weight matrix in units of d, [B,N] in -2..1, of `position` [B,N] (see `positions`).

    With the thresholds h0..h3 ([4], or [B,4] for a set per reference): -2 up to h0, then straight lines from -1 at h0
    through 0 at h1 and 1/2 at h2 to 1 at h3, and 1 above.
    """
    h0, h1, h2, h3 = thresholds[..., None].unbind(dim=-2)
    weights = _ramp(position, h0, h1) - 1 + _ramp(position, h1, h2) / 2 + _ramp(position, h2, h3) / 2
    return torch.where(position <= h0, -2.0, weights)


def _ramp(x: torch.Tensor, start: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
    """0 up to `start`, 1 from `end` on, straight between."""
    return ((x - start) / (end - start)).clamp(0, 1)


def checked_thresholds(thresholds: Sequence[float]) -> torch.Tensor:
    """The four thresholds as a float32 tensor [4]. Raises ValueError unless 0 <= h0 < h1 < h2 < h3 <= 1."""
    h = torch.tensor(thresholds, dtype=torch.float32)
    if not (h[0] >= 0 and h[3] <= 1 and (h.diff() > 0).all()):
        given = ", ".join(f"{value:g}" for value in thresholds)
        raise ValueError(
            f"threshold_0 to threshold_3 are {given}: each must be greater than the one before, all between 0 and 1. "
            "Raise or lower those that are not."
        )
    return h


def auto_thresholds(position: torch.Tensor) -> torch.Tensor:
    """Thresholds [B,4] for `position` [B,N] in 0..1, found from its distribution; 0 = h0 < h1 < h2 < h3 < 1.

    Otsu's threshold (IEEE Trans. SMC 9, 1979) parts the tokens into those inside the region and those outside.
    h3 is the mean of those inside: a typical one counts in full. h2 lies halfway from the border to it. h0 is 0, so
    that none but the most unlike is pushed away, and h1 is where those outside get the least weight, up or down.
    """
    bins = HISTOGRAM_BINS
    index = (position * bins).long().clamp(max=bins - 1)
    histogram = F.one_hot(index, bins).sum(dim=1).float() + 1e-6  # a trace in each bin: no part is ever empty
    edges = torch.arange(1, bins, device=position.device) / bins
    centers = (torch.arange(bins, device=position.device) + 0.5) / bins

    moments = histogram * centers
    below, above = histogram.cumsum(dim=1)[:, :-1], _sum_from(histogram)[:, 1:]
    outside, inside = moments.cumsum(dim=1)[:, :-1] / below, _sum_from(moments)[:, 1:] / above
    variance = below * above * (inside - outside) ** 2  # between the two parts
    best = variance.argmax(dim=1, keepdim=True)

    border, h3 = edges[best], inside.gather(1, best)
    h2 = (border + h3) / 2
    candidates = torch.stack(torch.broadcast_tensors(torch.zeros_like(edges), edges, h2, h3), dim=-1)  # by their h1
    weights = position_weights(centers, candidates).abs()  # [B,candidate,bin]
    cost = (weights * (histogram * (centers < border))[:, None]).sum(dim=2)
    h1 = cost.masked_fill(edges > border, torch.inf).argmin(dim=1)
    return candidates[torch.arange(len(h1)), h1].to(position.dtype)


def _sum_from(x: torch.Tensor) -> torch.Tensor:
    """The sum of each entry of [B,N] and all after it; as a difference of sums, small ones would be rounded away."""
    return x.flip(1).cumsum(dim=1).flip(1)


def mask_to_tokens(mask: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """A mask [M,H,W] or [H,W] over the reference as one value per token, [M, rows*columns]: the mean over its area.

    Raises ValueError as `images.checked_mask` does.
    """
    return F.adaptive_avg_pool2d(checked_mask(mask, "mask")[:, None], grid).flatten(1)


def token_grid(count: int) -> tuple[int, int]:
    """Rows and columns of `count` local tokens. Raises ValueError where they do not form a square."""
    side = round(count**0.5)
    if side * side != count:
        raise ValueError(
            f"tokens: {count} local tokens do not form a square grid, so nobody knows where in the picture they are. "
            "Connect those of Encode Reference."
        )
    return side, side


def check_finite(tokens: torch.Tensor) -> None:
    """Raises ValueError for tokens with NaN or infinity in them."""
    if not torch.stack(tokens.aminmax()).isfinite().all():  # 15 times as fast as looking at every value
        raise ValueError(
            "tokens: some values are NaN or infinite. Encode the reference again with the CLIP in full precision "
            "(start ComfyUI with --fp32-text-enc)."
        )

"""A region of a reference turned to another color with words, as the LocalText node does it."""

import torch

from colorize_core import manipulation

SCALE = 8.0


def edit_local(
    cls: torch.Tensor,
    local: torch.Tensor,
    control: torch.Tensor,
    anchor: torch.Tensor,
    target: torch.Tensor,
    scale: float = SCALE,
    automatic: bool = False,
) -> torch.Tensor:
    """`local` [B,N,D] with what correlates with `control` [D] moved from `anchor` [D] to `target` [D].

    Anchor and enhance; the published thresholds, or `automatic` ones. `cls` is [B,1,D].
    """
    position = manipulation.positions(manipulation.correlation(local, control))
    thresholds = manipulation.auto_thresholds(position) if automatic else torch.tensor(manipulation.THRESHOLDS)
    weights = manipulation.position_weights(position, thresholds.to(local))
    return manipulation.manipulate_local(cls, local, weights, target, anchor, scale, enhance=True)

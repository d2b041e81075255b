"""Cross-attention with several branches in one pass: regions of a drawing, or its figure and its background.

The context holds the tokens of all branches, one after the other. A branch attends to its own, by the layers' own
weights or with an adapter of its own added, and counts at each place of the picture as much as its weight says.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from comfy.ldm.modules.attention import CrossAttention, optimized_attention

BRANCHES = "colorize_branches"  # key of transformer_options within a pass: its Branches


@dataclass(frozen=True)
class Branch:
    """The tokens `start` to `stop` of the context. `adapter` is the name, such as fg, of the weights `lora_down_fg` and
    `lora_up_fg` that its query, key and value take beside the layer's own; None for none."""

    start: int
    stop: int
    adapter: str | None = None


class Branches:
    """The branches of a pass; `weigh(height, width)` gives their weights [B,n,height,width] at a block's size."""

    def __init__(self, branches: Sequence[Branch], weigh: Callable[[int, int], torch.Tensor]):
        self.branches = tuple(branches)
        self._weigh = weigh
        self._weights = {}

    def weights(self, height: int, width: int) -> list[torch.Tensor]:
        """For each branch what it counts at each query: [B,height*width,1]; made once for each size of a pass."""
        if (height, width) not in self._weights:
            weights = self._weigh(height, width).flatten(2).unsqueeze(-1)
            self._weights[height, width] = list(weights.unbind(1))
        return self._weights[height, width]


class BranchCrossAttention(CrossAttention):
    """The host's cross-attention, that attends in branches where a pass has them.

    A block whose cross-attention another patch replaces never comes here: it sees the tokens of all branches.
    """

    def forward(self, x, context=None, value=None, mask=None, transformer_options={}):  # noqa: B006 (the host's)
        if BRANCHES not in transformer_options:
            return super().forward(x, context, value, mask, transformer_options)
        branches = transformer_options[BRANCHES]
        weights = branches.weights(*transformer_options["activations_shape"][2:])
        value = context if value is None else value
        settings = {"attn_precision": self.attn_precision, "transformer_options": transformer_options}
        queries = {adapter: project(self.to_q, x, adapter) for adapter in {b.adapter for b in branches.branches}}
        out = 0
        for branch, weight in zip(branches.branches, weights, strict=True):
            key = project(self.to_k, context[:, branch.start : branch.stop], branch.adapter)
            values = project(self.to_v, value[:, branch.start : branch.stop], branch.adapter)
            attended = optimized_attention(queries[branch.adapter], key, values, self.heads, **settings)
            out = out + attended * weight.to(attended)
        return self.to_out(out)


def project(layer: torch.nn.Module, x: torch.Tensor, adapter: str | None) -> torch.Tensor:
    """A linear layer of an attention, with the adapter of that name added."""
    out = layer(x)
    if adapter is not None:
        out = out + getattr(layer, f"lora_up_{adapter}")(getattr(layer, f"lora_down_{adapter}")(x))
    return out

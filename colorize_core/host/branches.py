"""Cross-attention with several branches in one pass: regions of a drawing, or its figure and its background.

The context holds the tokens of all branches, one after the other. A branch attends to its own, by the layers' own
weights or with an adapter of its own added, and counts at each place of the picture as much as its weight says.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from comfy.ldm.modules.attention import CrossAttention, optimized_attention
from torch import nn

from .dropping import ROWS

BRANCHES = "colorize_branches"  # key of transformer_options within a pass: its Branches


@dataclass(frozen=True)
class Branch:
    """The tokens `start` to `stop` of the context. `adapter` is the name, such as fg, of the weights of a SplitLoRA
    that its query, key and value take beside the layer's own, where an attention has them; None for none."""

    start: int
    stop: int
    adapter: str | None = None


class Branches:
    """The branches of a pass; `weigh(height, width, adapted)` gives their weights [B,n,height,width] at a block's size,
    whose attention is `adapted` if it has a SplitLoRA."""

    def __init__(self, branches: Sequence[Branch], weigh: Callable[[int, int, bool], torch.Tensor]):
        self.branches = tuple(branches)
        self._weigh = weigh
        self._weights = {}

    def weights(self, height: int, width: int, adapted: bool) -> list[torch.Tensor]:
        """For each branch what it counts at each query: [B,height*width,1]; made once for each size of a pass."""
        key = height, width, adapted
        if key not in self._weights:
            weights = self._weigh(*key).flatten(2).unsqueeze(-1)
            self._weights[key] = list(weights.unbind(1))
        return self._weights[key]


class BranchCrossAttention(CrossAttention):
    """The host's cross-attention, that attends in branches where a pass has them.

    A block whose cross-attention another patch replaces never comes here: it sees the tokens of all branches.
    """

    adapted = False

    def forward(self, x, context=None, value=None, mask=None, transformer_options={}):  # noqa: B006 (the host's)
        value = context if value is None else value
        if ROWS not in transformer_options:
            return self.to_out(self.attend(x, context, value, lambda batch: batch, transformer_options))
        rows = transformer_options[ROWS]
        nothing = self.to_out(x.new_zeros(1, 1, self.heads * self.dim_head))
        if rows.are_all_dropped:
            return nothing.expand(*x.shape[:2], -1)
        inputs = (rows.in_use(batch) for batch in (x, context, value))
        return rows.filled(self.to_out(self.attend(*inputs, rows.in_use, transformer_options)), nothing)

    def attend(self, x, context, value, take, transformer_options) -> torch.Tensor:
        """The attention before its output's projection, in branches where the pass has them; `take` leaves out the rows
        of a batch that x, context and value lack."""
        settings = {"attn_precision": self.attn_precision, "transformer_options": transformer_options}
        if BRANCHES not in transformer_options:
            key, values = self.to_k(context), self.to_v(value)
            return optimized_attention(self.to_q(x), key, values, self.heads, **settings)
        branches = transformer_options[BRANCHES]
        weights = branches.weights(*transformer_options["activations_shape"][2:], self.adapted)
        queries = {adapter: self.project("to_q", x, adapter) for adapter in {b.adapter for b in branches.branches}}
        out = 0
        for branch, weight in zip(branches.branches, weights, strict=True):
            key = self.project("to_k", context[:, branch.start : branch.stop], branch.adapter)
            values = self.project("to_v", value[:, branch.start : branch.stop], branch.adapter)
            attended = optimized_attention(queries[branch.adapter], key, values, self.heads, **settings)
            out = out + attended * take(weight).to(attended)
        return out

    def project(self, projection: str, x: torch.Tensor, adapter: str | None) -> torch.Tensor:
        """x [B,N,D] through the layer `to_q`, `to_k` or `to_v`, with the adapter of that name added."""
        return getattr(self, projection)(x)


class AdaptedCrossAttention(BranchCrossAttention):
    """A cross-attention with weights of a branch's own in `split_lora`."""

    adapted = True

    def project(self, projection, x, adapter):
        out = super().project(projection, x, adapter)
        return out if adapter is None else out + self.split_lora(projection, x, adapter)


class SplitLoRA(nn.ModuleDict):
    """The adapters of an attention's query, key and value: `fg` for the figure, `bg` for the background.

    In a published file they lie inside the projections (`to_q.lora_down_fg`); here they are layers beside them, since
    the host loads, moves and patches only layers that have no others inside.
    """

    def __init__(self, attention: CrossAttention, ranks, dtype=None, device=None, operations=nn):
        super().__init__()
        for projection in ("to_q", "to_k", "to_v"):
            linear = getattr(attention, projection)
            self[projection] = nn.ModuleDict()
            for adapter, rank in ranks(linear).items():
                for part, inputs, outputs in ("down", linear.in_features, rank), ("up", rank, linear.out_features):
                    layer = operations.Linear(inputs, outputs, bias=False, dtype=dtype, device=device)
                    self[projection][f"{part}_{adapter}"] = layer

    def forward(self, projection: str, x: torch.Tensor, adapter: str) -> torch.Tensor:
        """What an adapter adds to a projection of x [B,N,D]."""
        layers = self[projection]
        return layers[f"up_{adapter}"](layers[f"down_{adapter}"](x))


def add_split_lora(network: nn.Module, ranks: Callable[[nn.Module], dict[str, int]], **factory) -> None:
    """Gives each cross-attention in `network` a SplitLoRA; `ranks(linear)` are those of its adapters by their names."""
    for module in network.modules():
        if isinstance(module, BranchCrossAttention):
            module.__class__ = AdaptedCrossAttention
            module.split_lora = SplitLoRA(module, ranks, **factory)

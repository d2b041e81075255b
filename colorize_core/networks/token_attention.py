"""Cross-attention with a residual and a feed-forward, as v1.5's cluster transformer and v2's warp modules share it."""

import torch
import torch.nn.functional as F
from torch import nn

HEAD_WIDTH = 64


class TokenAttention(nn.Module):
    """Queries [B,N,width] attend to [B,M,width] with heads HEAD_WIDTH wide.

    `operations` supplies the layer classes (torch.nn, or a host's drop-in for it).
    """

    def __init__(self, width: int, dtype=None, device=None, operations=nn):
        super().__init__()
        factory = {"dtype": dtype, "device": device}
        self.to_q = operations.Linear(width, width, bias=False, **factory)
        self.to_k = operations.Linear(width, width, bias=False, **factory)
        self.to_v = operations.Linear(width, width, bias=False, **factory)
        self.to_out = nn.Sequential(operations.Linear(width, width, **factory))

    def forward(self, queries: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """[B,N,width] and [B,M,width] to [B,N,width]."""
        q, k, v = (
            projected.unflatten(-1, (-1, HEAD_WIDTH)).transpose(1, 2)
            for projected in (self.to_q(queries), self.to_k(tokens), self.to_v(tokens))
        )
        out = F.scaled_dot_product_attention(q, k, v)
        return self.to_out(out.transpose(1, 2).flatten(2))


def feed_forward(width: int, dtype=None, device=None, operations=nn) -> nn.Sequential:
    """[...,width] to [...,width] through four times the width."""
    return nn.Sequential(
        operations.Linear(width, 4 * width, dtype=dtype, device=device),
        nn.SiLU(),
        operations.Linear(4 * width, width, dtype=dtype, device=device),
    )

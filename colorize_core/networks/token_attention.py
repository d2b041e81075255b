"""Attention and feed-forward as v1.5's cluster transformer, v2's warp modules and XL's token mixer share them."""

import torch
import torch.nn.functional as F
from torch import nn

HEAD_WIDTH = 64


class TokenAttention(nn.Module):
    """Queries [B,N,width] attend to [B,M,width] with heads `head_width` wide.

    `operations` supplies the layer classes (torch.nn, or a host's drop-in for it).
    """

    def __init__(self, width: int, dtype=None, device=None, operations=nn, head_width: int = HEAD_WIDTH):
        super().__init__()
        self.head_width = head_width
        factory = {"dtype": dtype, "device": device}
        self.to_q = operations.Linear(width, width, bias=False, **factory)
        self.to_k = operations.Linear(width, width, bias=False, **factory)
        self.to_v = operations.Linear(width, width, bias=False, **factory)
        self.to_out = nn.Sequential(operations.Linear(width, width, **factory))

    def forward(self, queries: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """[B,N,width] and [B,M,width] to [B,N,width]."""
        q, k, v = (
            projected.unflatten(-1, (-1, self.head_width)).transpose(1, 2)
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

"""v1.5's cluster transformer: learned queries gather a background from the tokens of a reference without its figure.

Source: arXiv 2502.19937.
"""

import torch
from torch import nn

from .token_attention import TokenAttention, feed_forward


class ClusterTransformer(nn.Module):
    """Tokens [B,N,width] become `queries` tokens [B,queries,width], in `depth` layers.

    The keys and values of every layer come from the same tokens, not normalized.
    `operations` supplies the layer classes (torch.nn, or a host's drop-in for it).
    """

    def __init__(self, width: int, queries: int, depth: int, dtype=None, device=None, operations=nn):
        super().__init__()
        factory = {"dtype": dtype, "device": device, "operations": operations}

        def layer():
            norms = [operations.LayerNorm(width, dtype=dtype, device=device) for _ in range(2)]
            return nn.ModuleList([*norms, TokenAttention(width, **factory), feed_forward(width, **factory)])

        self.embedding = nn.Parameter(torch.empty(queries, width, dtype=dtype, device=device))
        self.layers = nn.ModuleList(layer() for _ in range(depth))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """[B,N,width] to [B,queries,width]."""
        # A host that loads layer by layer leaves this parameter, which belongs to no layer, where it was.
        x = self.embedding.to(tokens.device, tokens.dtype).expand(len(tokens), -1, -1)
        for attention_norm, forward_norm, attention, feed in self.layers:
            x = attention(attention_norm(x), tokens) + x
            x = feed(forward_norm(x)) + x
        return x

"""XL's context: tokens of two image encoders, CLIP and a tagger, become one sequence. Source: arXiv 2603.05971."""

import torch
import torch.nn.functional as F
from torch import nn


class TokenMixer(nn.Module):
    """CLIP's tokens [B,1+N,D] and the tagger's [B,M,E] to a context [B,M,context_dim].

    The first M of CLIP's tokens, its CLS token among them, stand beside the tagger's M: the two grids do not lie on
    one another, and so the model was trained. `head_channels` is the width of an attention head, which shapes do not
    tell; the published files have 128. `operations` supplies the layer classes.
    """

    def __init__(
        self,
        clip_dim: int = 1280,
        tagger_dim: int = 1024,
        context_dim: int = 2048,
        head_channels: int = 128,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        operations=nn,
    ):
        super().__init__()
        factory = {"dtype": dtype, "device": device}
        self.attn = SelfAttention(clip_dim, head_channels, factory, operations)
        self.norm = operations.LayerNorm(clip_dim, **factory)
        self.proj = nn.Sequential(
            operations.Linear(clip_dim + tagger_dim, context_dim, **factory),
            nn.SiLU(),
            operations.Linear(context_dim, context_dim, **factory),
            operations.LayerNorm(context_dim, **factory),
        )

    def forward(self, clip: torch.Tensor, tagger: torch.Tensor) -> torch.Tensor:
        """`clip` [B,1+N,D], CLS first, and `tagger` [B,M,E], M at most 1+N, to [B,M,context_dim]."""
        mixed = self.norm(self.attn(clip)[:, : tagger.shape[1]])
        return self.proj(torch.cat([mixed, tagger], dim=-1))


class SelfAttention(nn.Module):
    """Plain multi-head self-attention, without a norm before it or a residual around it."""

    def __init__(self, width: int, head_channels: int, factory: dict, operations=nn):
        super().__init__()
        self.head_channels = head_channels
        self.to_q, self.to_k, self.to_v = (operations.Linear(width, width, bias=False, **factory) for _ in range(3))
        self.to_out = nn.Sequential(operations.Linear(width, width, **factory))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        projected = (layer(tokens) for layer in (self.to_q, self.to_k, self.to_v))
        query, key, value = (x.unflatten(2, (-1, self.head_channels)).transpose(1, 2) for x in projected)
        attended = F.scaled_dot_product_attention(query, key, value)
        return self.to_out(attended.transpose(1, 2).flatten(2))

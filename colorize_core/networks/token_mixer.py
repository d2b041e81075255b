"""XL's context: tokens of two image encoders, CLIP and a tagger, become one sequence. Source: arXiv 2603.05971."""

import torch
from torch import nn

from .token_attention import TokenAttention


class TokenMixer(nn.Module):
    """CLIP's tokens [B,1+N,D] and the tagger's [B,M,E] to a context [B,M,context_dim].

    The first M of CLIP's tokens, its CLS token among them, stand beside the tagger's M: the two grids do not lie on
    one another, and so the model was trained. `head_width` is the width of an attention head, which shapes do not
    tell; the published files have 128. `operations` supplies the layer classes.
    """

    def __init__(
        self,
        clip_dim: int = 1280,
        tagger_dim: int = 1024,
        context_dim: int = 2048,
        head_width: int = 128,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        operations=nn,
    ):
        super().__init__()
        factory = {"dtype": dtype, "device": device}
        self.attn = TokenAttention(clip_dim, **factory, operations=operations, head_width=head_width)
        self.norm = operations.LayerNorm(clip_dim, **factory)
        self.proj = nn.Sequential(
            operations.Linear(clip_dim + tagger_dim, context_dim, **factory),
            nn.SiLU(),
            operations.Linear(context_dim, context_dim, **factory),
            operations.LayerNorm(context_dim, **factory),
        )

    def forward(self, clip: torch.Tensor, tagger: torch.Tensor) -> torch.Tensor:
        """`clip` [B,1+N,D], CLS first, and `tagger` [B,M,E], M at most 1+N, to [B,M,context_dim]."""
        mixed = self.norm(self.attn(clip, clip)[:, : tagger.shape[1]])
        return self.proj(torch.cat([mixed, tagger], dim=-1))

"""The reference's tokens as the context of the model's cross-attentions; zeros, or none, stand for a dropped one."""

import torch

CLS = "colorize_cls"  # key of a CONDITIONING, whose main tensor holds the local tokens [B,N,D]: the CLS token [B,1,D]

CONTEXT = "c_crossattn"  # the host's name for the context of a pass
TOKENS_PREFIX = "reference_tokens_"  # of keywords that hold more tokens [B,...,D]: dropped with the context


def context_of(model, cond: dict) -> torch.Tensor:
    """The context [B,N,D] of a conditioning. ValueError for tokens that are not as wide as the model's."""
    width = model.config.unet.context_dim
    context = cond.get("cross_attn")
    if context is None:
        return torch.zeros(1, 1, width)
    if model.config.token_type == "cls":
        context = cond.get(CLS, context) * in_use(context)[:, None, None]
    check_width(context, width)
    return context


def in_use(context: torch.Tensor) -> torch.Tensor:
    """Which rows of a context [B,N,D] have a reference: [B], False where it is dropped."""
    return context.flatten(1).any(dim=1)


def check_width(tokens: torch.Tensor, width: int) -> None:
    """ValueError for tokens [...,D] of another width than the model's."""
    if tokens.shape[-1] != width:
        raise ValueError(
            f"conditioning: its tokens are {tokens.shape[-1]} wide and the model takes {width}. "
            "Encode the reference with the CLIP that belongs to this checkpoint."
        )

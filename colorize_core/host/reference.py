"""The reference's tokens as the context of the model's cross-attentions; zeros, or none, stand for a dropped one."""

import torch

from ..images import shape_of
from ..tokens import ReferenceTokens

# Keys of a CONDITIONING, whose main tensor holds the local tokens [B,N,D].
CLS = "colorize_cls"  # [B,1,D]
TAGGER = "colorize_tagger"  # [B,M,E]

CONTEXT = "c_crossattn"  # the host's name for the context of a pass
TOKENS_PREFIX = "reference_tokens_"  # of keywords that hold more tokens [B,...,D]: dropped with the context


def entries(tokens: ReferenceTokens) -> dict[str, torch.Tensor]:
    """The values of a CONDITIONING whose main tensor are the local tokens."""
    values = {CLS: tokens.cls, TAGGER: tokens.tagger}
    return {key: value for key, value in values.items() if value is not None}


@torch.no_grad()  # where the host trains, tokens made in inference mode could not be differentiated through
def context_of(model, cond: dict) -> torch.Tensor:
    """The context [B,N,D] of a conditioning, on the run's device. ValueError for tokens that the model cannot take."""
    local, device = cond.get("cross_attn"), cond["device"]
    if local is None:
        return torch.zeros(1, 1, model.config.unet.context_dim, device=device)
    tokens = cond.get(CLS, local), local, cond.get(TAGGER)
    shapes = [shape_of(part) for part in tokens if part is not None]
    if any(len(shape) != 3 or shape[0] != shapes[0][0] for shape in shapes):
        raise ValueError(
            f"conditioning: the shapes of its tokens are {', '.join(map(str, shapes))} where [batch, tokens, width] "
            "belongs. Connect Colorize Conditioning."
        )
    context = to_context(model, tokens, device, "conditioning")
    return context * in_use(local).to(context)[:, None, None]


def to_context(model, tokens: tuple[torch.Tensor | None, ...], device, name: str) -> torch.Tensor:
    """The context [B,N,D] of a reference's CLS, local and tagger's tokens, on a device.

    ValueError, naming the input, for what the model cannot take.
    """
    dtype = model.get_dtype_inference()
    tokens = (part if part is None else part.to(device, dtype) for part in tokens)
    return model.diffusion_model.to_context(*tokens, name)


def in_use(context: torch.Tensor) -> torch.Tensor:
    """Which rows of a context [B,N,D] have a reference: [B], False where it is dropped."""
    return context.flatten(1).any(dim=1)


def check_width(tokens: torch.Tensor, width: int, name: str, encoder: str = "CLIP") -> None:
    """ValueError, for the input `name`, if tokens [...,D] have another width than the model's from that encoder."""
    if tokens.shape[-1] != width:
        raise ValueError(
            f"{name}: its tokens are {tokens.shape[-1]} wide and the model takes {width}. "
            f"Encode the reference with the {encoder} that belongs to this checkpoint."
        )

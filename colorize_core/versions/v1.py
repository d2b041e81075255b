"""ColorizeDiffusion v1 (arXiv 2401.01456): the denoiser of Stable Diffusion 2.1 and a sketch encoder beside it."""

from ..checkpoint.config import AttentionLayout, Config, HintLayout, Version, as_it_is
from ..checkpoint.unet import UNetShape, default_head_channels

VERSION = Version(
    name="v1",
    marks=("control_encoder.",),
    default_prediction="eps",
    parts=("control_encoder.",),
    hints=HintLayout(blocks=(0, 3, 6, 9, 11), downscales=(1, 2, 4, 8, 8)),
    attention=AttentionLayout(16, encoder=(0, 1), color=(2, 3, 10, 11, 12), semantics=(4, 5, 7, 8, 9)),
    figure_options=("background_enhance",),
    configure=as_it_is,
)


def v1_config(
    prediction: str = "eps",
    model_channels: int = 320,
    channel_mult: tuple[int, ...] = (1, 2, 4, 4),
    context_dim: int = 1024,
    num_head_channels: int | None = None,
    token_type: str = "attention",
) -> Config:
    """A v1 model, by default in its published size; `context_dim` is the width of the CLIP's tokens."""
    shape = UNetShape(
        in_channels=4,
        out_channels=4,
        model_channels=model_channels,
        channel_mult=tuple(channel_mult),
        num_res_blocks=(2, 2, 2, 2),
        transformer_depth=(1, 1, 1, 1, 1, 1, 0, 0),
        transformer_depth_middle=1,
        transformer_depth_output=(1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0),
        context_dim=context_dim,
        num_head_channels=num_head_channels or default_head_channels(model_channels),
        use_linear_in_transformer=False,
    )
    return Config(VERSION, prediction, token_type, shape)

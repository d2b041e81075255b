"""ColorizeDiffusion v1 (arXiv 2401.01456): the denoiser of Stable Diffusion 2.1 and a sketch encoder beside it."""

from ..checkpoint.config import Config, Version
from ..checkpoint.five_maps import FIVE_MAPS, SIXTEEN_ATTENTIONS
from ..checkpoint.keys import SKETCH_ENCODER
from ..checkpoint.unet import UNetShape, default_head_channels

VERSION = Version(
    name="v1",
    marks=(SKETCH_ENCODER,),
    default_prediction="eps",
    parts=(SKETCH_ENCODER,),
    hints=FIVE_MAPS,
    attention=SIXTEEN_ATTENTIONS,
    figure_options=("background_enhance",),
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

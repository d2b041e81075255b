"""ColorizeDiffusion XL (arXiv 2603.05971): the denoiser of SDXL, a multi-scale sketch encoder, and a token mixer that
joins two image encoders.

Two variants differ by what Figure and Background does: `sdxl`, and `xlv2` with a background encoder and a LoRA.
"""

from dataclasses import dataclass, replace

from ..checkpoint.config import AttentionLayout, Config, HintLayout, Version
from ..checkpoint.keys import StateDict, weight
from ..checkpoint.unet import UNetShape

HEAD_CHANNELS = 128  # of sketch encoder and token mixer in the published files
SIZE_CHANNELS = 512  # channels of the size conditioning: two numbers
BACKGROUND_RANK = 4  # of the background LoRA
BLOCKS = 70  # cross-attentions: input 0-23 (0-3 at the finer level), middle 24-33, output 34-69 (64-69 finer)

# Parts of keys of layouts that the published code knows and no published configuration has, and what they are.
UNKNOWN_PARTS = {
    "control_encoder.zero_layer.": "a sketch encoder of v1's kind",
    "proj.transformer.": "a transformer between image encoders and denoiser",
    "proj.mlp.": "a token mixer of another kind",
    "fg_encoder.": "a foreground encoder",
    "map_modules.": "modules that map features",
    "warp_modules.": "modules that warp features",
    "style_modules.": "modules of style",
    "down_foreground.": "a LoRA for the foreground",
}


@dataclass(frozen=True)
class ConfigXL(Config):
    """With the widths of the tokens that the mixer takes, CLIP's and the tagger's."""

    clip_width: int = 0
    tagger_width: int = 0

    @property
    def token_widths(self) -> tuple[int, int]:
        return self.clip_width, self.tagger_width


def configure(config: Config, unet: StateDict, name: str) -> ConfigXL:
    for mark, part in UNKNOWN_PARTS.items():
        if any(mark in key for key in unet):
            raise ValueError(
                f"{name} is an XL checkpoint with {part} ({mark}*), which no published one has and which is not "
                "supported: choose one of the published files, sdxl-* or xlv2-*."
            )
    if config.token_type != "attention":
        raise ValueError(
            f"token_type: {name} is an XL checkpoint, which takes all tokens of its references: choose attention."
        )
    if config.unet.adm_in_channels != SIZE_CHANNELS:
        raise ValueError(
            f"{name}: its size conditioning has {config.unet.adm_in_channels} channels where that of XL has "
            f"{SIZE_CHANNELS}: the file was put together wrongly, get another."
        )
    clip_width = len(weight(unet, "proj.norm.weight", name))
    sketch_width = weight(unet, "control_encoder.attn_layer.to_q.weight", name).shape[0]
    heads = {
        "sketch_head_channels": head_width(config.sketch_head_channels, sketch_width, "sketch_head_channels", name),
        "mixer_head_channels": head_width(config.mixer_head_channels, clip_width, "mixer_head_channels", name),
    }
    tagger_width = weight(unet, "proj.proj.0.weight", name).shape[1] - clip_width
    return ConfigXL(**vars(config) | heads, clip_width=clip_width, tagger_width=tagger_width)


def head_width(known: int, width: int, entry: str, name: str) -> int:
    """Width of an attention's heads: as the file says, else as published. ValueError for one that does not divide."""
    head = known or HEAD_CHANNELS
    if width % head:
        raise ValueError(
            f"{name}: its metadata's {entry} is {known or 'missing'}, and {head} does not divide the attention's width "
            f"of {width}: write the metadata anew."
        )
    return head


VERSION = Version(
    name="XL",
    marks=("control_encoder.attn_layer.", "proj.attn."),
    default_prediction="v",
    side=1024,
    takes_vector=True,
    parts=("control_encoder.", "proj.", "fg_encoder."),  # the last is known so that it can be refused
    hints=HintLayout(blocks=(0, 3, 6, 8), downscales=(1, 2, 4, 4)),
    attention=AttentionLayout(BLOCKS, encoder=tuple(range(BLOCKS)), color=(), semantics=()),
    figure_options=("background_enhance",),
    configure=configure,
)
ADAPTED_VERSION = replace(
    VERSION,
    name="XL v2",
    marks=(".lora_down_background.", ".lora_up_background."),
    parts=(*VERSION.parts, "bg_encoder."),
    figure_parts=("bg_encoder.",),
    attention=AttentionLayout(BLOCKS, encoder=tuple(range(4)), color=(), semantics=(*range(4, 24), *range(34, 64))),
)


def published_xl(version: Version = VERSION, prediction: str = "v") -> ConfigXL:
    """A model of the published size: the base variant, or ADAPTED_VERSION."""
    shape = UNetShape(
        in_channels=4,
        out_channels=4,
        model_channels=320,
        channel_mult=(1, 2, 4),
        num_res_blocks=(2, 2, 2),
        transformer_depth=(0, 0, 2, 2, 10, 10),
        transformer_depth_middle=10,
        transformer_depth_output=(0, 0, 0, 2, 2, 2, 10, 10, 10),
        context_dim=2048,
        num_head_channels=64,
        use_linear_in_transformer=True,
        adm_in_channels=SIZE_CHANNELS,
    )
    heads = (HEAD_CHANNELS, HEAD_CHANNELS)
    return ConfigXL(version, prediction, "attention", shape, *heads, clip_width=1280, tagger_width=1024)

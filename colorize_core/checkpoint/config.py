"""What a version of ColorizeDiffusion is, in the terms that whatever loads, conditions and trains it goes by."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .keys import StateDict
from .unet import UNetShape


@dataclass(frozen=True)
class HintLayout:
    """Where the sketch encoder's maps go: map k is added to the output of the denoiser's input block `blocks[k]`, and
    `downscales[k]` is the side of the latent over that of the map."""

    blocks: tuple[int, ...]
    downscales: tuple[int, ...]


@dataclass(frozen=True)
class AttentionLayout:
    """The denoiser's cross-attentions, numbered from 0 in the order input, middle, output blocks.

    `encoder`, `color` and `semantics` are those of the levels that Reference Strength knows.
    """

    count: int
    encoder: tuple[int, ...]
    color: tuple[int, ...]
    semantics: tuple[int, ...]


@dataclass(frozen=True)
class Config:
    """One model: its version, what it predicts ("eps" or "v"), which tokens it takes, and the shape of its parts.

    The widths of the heads of sketch encoder and token mixer are 0 where these have none.
    """

    version: "Version"
    prediction: str
    token_type: str  # "attention" or "cls"
    unet: UNetShape
    sketch_head_channels: int = 0
    mixer_head_channels: int = 0

    @property
    def head_channels(self) -> tuple[int, int, int]:
        return self.unet.num_head_channels, self.sketch_head_channels, self.mixer_head_channels

    @property
    def token_widths(self) -> tuple[int, int]:
        """Of the reference's tokens from CLIP, and of those from the tagger: 0 where the model takes none."""
        return self.unet.context_dim, 0


def as_it_is(config: Config, unet: StateDict, name: str) -> Config:
    return config


@dataclass(frozen=True)
class Version:
    """A version: `marks` are parts of keys that tell it from all less particular ones.

    `parts` are the prefixes of what a file holds beside the denoiser and the model inside it. `configure(config, unet,
    name)` completes the Config of a denoiser's own state dict by what only this version has, ValueError naming the
    file where it cannot. `predictions` are those of published files, by their names in lower case, without ending, that
    neither word nor version tells. `side` is that of the pictures, in pixels, that it was trained on; `takes_vector`
    says whether a vector conditions it too. `figure_options` are those of Figure and Background that it has, and
    `figure_parts` the prefixes of what in the denoiser only these use, beside the LoRAs of cross-attentions.
    """

    name: str
    marks: tuple[str, ...]
    default_prediction: str
    side: int = 512
    takes_vector: bool = False
    parts: tuple[str, ...] = ()
    hints: HintLayout = HintLayout((), ())
    attention: AttentionLayout = AttentionLayout(0, (), (), ())
    predictions: Mapping[str, str] = field(default_factory=dict)
    figure_options: tuple[str, ...] = ()
    figure_parts: tuple[str, ...] = ()
    configure: Callable[[Config, StateDict, str], Config] = as_it_is

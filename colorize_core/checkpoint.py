"""Which ColorizeDiffusion is this state dict? Its configuration, from keys and tensor shapes.

Two facts are not in the shapes. The width of an attention head is `num_head_channels` of the file's metadata
(safetensors key `colorize_diffusion_config`, a JSON object), else half of `model_channels`, at most 64: right for the
published models (320 wide, 64). What the model predicts, eps or v, is what the first of these says: `prediction` of
that metadata; a `v_pred` key (v); a table of published names; a word of the file's name; what its version usually is.

`token_type` of the metadata, where a file has it, says which tokens its model was trained on: it warns, no more.
"""

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from .networks.sketch_encoder import HINT_BLOCKS

logger = logging.getLogger(__name__)

UNET_PREFIX = "model.diffusion_model."
ENCODER_PREFIX = "control_encoder."
VAE_PREFIX = "first_stage_model."
VAE_PARTS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
METADATA_KEY = "colorize_diffusion_config"

# Parts of keys that only one version has, the most particular version first.
VERSION_MARKS = {
    "XL": ("img_embedder.",),
    "v2": ("bg_encoder.", "style_encoder.", UNET_PREFIX + "warp_modules.", UNET_PREFIX + "style_modules."),
    "v1.5": (".lora_down_fg.", ".lora_down_bg.", "thresh_embedder."),
}
SUPPORTED_VERSIONS = ("v1",)
VERSION_PREDICTION = {"v1": "eps", "v1.5": "eps", "v2": "v", "XL": "v"}
PUBLISHED_PREDICTION = {
    "mult-eps-ft": "eps",
    "mult-eps-newft": "eps",
    "mult-ft": "eps",  # the name does not say so
    "mult-newft": "eps",
    "switch-eps": "eps",
    "v2-full": "v",
    "v2-1_768-ema-pruned": "v",  # Stable Diffusion 2.1
    "v2-1_768-nonema-pruned": "v",
}
# The values of this bias of Stable Diffusion 2 spread more where the model predicts v: so the host tells them apart.
V_SPREAD_IN, V_SPREAD = "output_blocks.11.1.transformer_blocks.0.norm1.bias", 0.09
PREDICTION_WORDS = {"eps": "eps", "v": "v", "vpred": "v"}

StateDict = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Config:
    """All it takes to build the model. Depths count transformer blocks: one entry per residual block, inputs first."""

    version: str
    prediction: str  # "eps" or "v"
    in_channels: int
    out_channels: int
    model_channels: int
    channel_mult: tuple[int, ...]
    num_res_blocks: tuple[int, ...]
    transformer_depth: tuple[int, ...]
    transformer_depth_middle: int
    transformer_depth_output: tuple[int, ...]  # from the last output block to the first
    context_dim: int
    num_head_channels: int
    use_linear_in_transformer: bool


def v1_config(
    prediction: str = "eps",
    model_channels: int = 320,
    channel_mult: tuple[int, ...] = (1, 2, 4, 4),
    context_dim: int = 1024,
    num_head_channels: int | None = None,
) -> Config:
    """A v1 model, by default in its published size; `context_dim` is the width of the CLIP's tokens."""
    return Config(
        version="v1",
        prediction=prediction,
        in_channels=4,
        out_channels=4,
        model_channels=model_channels,
        channel_mult=tuple(channel_mult),
        num_res_blocks=(2, 2, 2, 2),
        transformer_depth=(1, 1, 1, 1, 1, 1, 0, 0),
        transformer_depth_middle=1,
        transformer_depth_output=(1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0),
        context_dim=context_dim,
        num_head_channels=num_head_channels or head_channels(model_channels),
        use_linear_in_transformer=False,
    )


@dataclass(frozen=True)
class AutoencoderConfig:
    """Shape of a VAE in the layout of Stable Diffusion's AutoencoderKL."""

    ch: int
    ch_mult: tuple[int, ...]
    num_res_blocks: int
    z_channels: int
    embed_dim: int


PUBLISHED_AUTOENCODER = AutoencoderConfig(ch=128, ch_mult=(1, 2, 4, 4), num_res_blocks=2, z_channels=4, embed_dim=4)


def to_published_keys(unet: dict) -> dict:
    """The denoiser's own state dict (sketch encoder inside, no prefix) under the keys of a published file."""
    return {key if key.startswith(ENCODER_PREFIX) else UNET_PREFIX + key: value for key, value in unet.items()}


def from_published_keys(checkpoint: dict) -> dict:
    """The denoiser's own state dict from that of a published file; what is not the denoiser's is left out.

    An encoder that lies inside the denoiser already (`model.diffusion_model.control_encoder.*`) is taken too.
    """
    unet = {key.removeprefix(UNET_PREFIX): value for key, value in checkpoint.items() if key.startswith(UNET_PREFIX)}
    return unet | {key: value for key, value in checkpoint.items() if key.startswith(ENCODER_PREFIX)}


def vae_weights(checkpoint: dict) -> dict:
    """The VAE's weights in published keys, from a checkpoint or a VAE's own file; none if there is no VAE in it."""
    own = "" if "decoder.conv_in.weight" in checkpoint else VAE_PREFIX
    parts = tuple(own + part for part in VAE_PARTS)  # a VAE's own file may hold its loss too
    return {VAE_PREFIX + key.removeprefix(own): value for key, value in checkpoint.items() if key.startswith(parts)}


def file_contents(config: Config, unet: dict, vae: dict, token_type: str | None = None) -> tuple[dict, dict[str, str]]:
    """Weights and metadata of a published file, from the denoiser's own state dict and a VAE in published keys.

    `token_type` is what it was trained on, `attention` or `cls`; None is both.
    """
    weights = to_published_keys(unet) | vae
    if config.prediction == "v":
        weights["v_pred"] = torch.tensor([])  # by this key any loader of Stable Diffusion knows
    told = {"prediction": config.prediction, "num_head_channels": config.num_head_channels}
    if token_type is not None:
        told["token_type"] = token_type
    return weights, {METADATA_KEY: json.dumps(told)}


def head_channels(model_channels: int) -> int:
    """Width of an attention head in a model of which nothing else is known."""
    return min(64, model_channels // 2)


def detect_version(checkpoint: StateDict) -> str | None:
    """`v1`, `v1.5`, `v2` or `XL`; None for a checkpoint that is not ColorizeDiffusion's."""
    for version, marks in VERSION_MARKS.items():
        if any(mark in key for key in checkpoint for mark in marks):
            return version
    has_encoder = any(key.removeprefix(UNET_PREFIX).startswith(ENCODER_PREFIX) for key in checkpoint)
    return "v1" if has_encoder else None


def detect_prediction(checkpoint: StateDict, version: str, name: str = "", metadata: dict | None = None) -> str:
    """`eps` or `v`, by the rule above. `name` is the file's name, with or without its ending.

    ValueError for metadata that is not as described above.
    """
    if told := _told(metadata, name).get("prediction"):
        return told
    if "v_pred" in checkpoint:
        return "v"
    stem = Path(name).stem.lower()
    words = re.split(r"[^a-z0-9]+", stem)
    by_word = (PREDICTION_WORDS[word] for word in words if word in PREDICTION_WORDS)
    return PUBLISHED_PREDICTION.get(stem) or next(by_word, VERSION_PREDICTION[version])


def warn_of_other_tokens(metadata: dict | None, name: str, chosen: str) -> None:
    """Warns where the file says that its model was trained on other tokens than `chosen`: `attention` or `cls`."""
    told = _told(metadata, name).get("token_type", chosen)
    if told != chosen:
        logger.warning("%s was trained with token_type %s, and %s is chosen.", name, told, chosen)


def detect(checkpoint: StateDict, name: str, metadata: dict | None = None) -> Config:
    """The configuration of a checkpoint in published keys.

    `name` is the file's: the rule for eps and v looks at it, and errors call the file so. ValueError for whatever is
    not a complete ColorizeDiffusion checkpoint of a supported version.
    """
    if not any(key.startswith(UNET_PREFIX) for key in checkpoint):
        raise ValueError(
            f"{name} holds no denoiser ({UNET_PREFIX}*), so it is no checkpoint: "
            "choose a ColorizeDiffusion v1 file, such as mult-eps-ft.safetensors."
        )
    version = detect_version(checkpoint)
    if version is None:
        raise ValueError(
            f"{name} has no sketch encoder ({ENCODER_PREFIX}*): "
            "it is an SD 1/2 checkpoint, load it with Load Checkpoint."
        )
    if version not in SUPPORTED_VERSIONS:
        raise ValueError(
            f"{name} is a ColorizeDiffusion {version} checkpoint, and only {', '.join(SUPPORTED_VERSIONS)} can be "
            "used so far: choose a v1 file, such as mult-eps-ft.safetensors."
        )

    prediction = detect_prediction(checkpoint, version, name, metadata)
    return _denoiser(from_published_keys(checkpoint), name, version, prediction, _told(metadata, name))


def from_stable_diffusion(checkpoint: StateDict, name: str) -> tuple[Config, dict]:
    """The denoiser of a Stable Diffusion 2 checkpoint as a v1 model: what it lacks is the sketch encoder.

    Its transformers' linear projections [C,C] become convolutions [C,C,1,1], which compute the same. It predicts v
    where its weights look so, whatever its name. ValueError for any other Stable Diffusion: heads, conditions or
    channels differ.
    """
    unet = from_published_keys(checkpoint)
    projections = {key: value for key, value in unet.items() if key.endswith(("proj_in.weight", "proj_out.weight"))}
    is_linear = any(value.ndim == 2 for value in projections.values())
    text_alone = "label_emb.0.0.weight" not in unet and _shape(unet, "input_blocks.0.0.weight", name)[1] == 4
    if not is_linear or not text_alone:
        raise ValueError(
            f"{name} is a Stable Diffusion checkpoint, but none of version 2 or 2.1 for text to image, the only ones "
            "that a colorizer can start from: take v2-1_512-ema-pruned.safetensors."
        )
    spread = _weight(unet, V_SPREAD_IN, name).float().std(correction=0)
    prediction = "v" if spread > V_SPREAD else detect_prediction(checkpoint, "v1", name)
    config = _denoiser(unet, name, "v1", prediction, {})
    unet |= {key: value[:, :, None, None] for key, value in projections.items()}
    return replace(config, use_linear_in_transformer=False), unet


def _denoiser(unet: StateDict, name: str, version: str, prediction: str, told: dict) -> Config:
    """The configuration of a denoiser from its own state dict, its version, its prediction and what its file tells."""
    inputs, outputs = _count(unet, "input_blocks."), _count(unet, "output_blocks.")
    if inputs != HINT_BLOCKS[-1] + 1:
        raise ValueError(
            f"{name}: its denoiser has {inputs} input blocks where the sketch encoder feeds {HINT_BLOCKS[-1] + 1}; "
            "a v1 model has four levels of two residual blocks."
        )
    model_channels, in_channels = _shape(unet, "input_blocks.0.0.weight", name)[:2]
    levels = _input_levels(unet, name)
    attention = "middle_block.1.transformer_blocks.0.attn2.to_k.weight"
    return Config(
        version=version,
        prediction=prediction,
        in_channels=in_channels,
        out_channels=_shape(unet, "out.2.weight", name)[0],
        model_channels=model_channels,
        channel_mult=tuple(level[0][0] // model_channels for level in levels),
        num_res_blocks=tuple(len(level) for level in levels),
        transformer_depth=tuple(depth for level in levels for _, depth in level),
        transformer_depth_middle=_count(unet, "middle_block.1.transformer_blocks."),
        transformer_depth_output=tuple(
            _count(unet, f"output_blocks.{i}.1.transformer_blocks.") for i in reversed(range(outputs))
        ),
        context_dim=_shape(unet, attention, name)[1],
        num_head_channels=_head_channels(told, model_channels, name),
        use_linear_in_transformer=len(_shape(unet, "middle_block.1.proj_in.weight", name)) == 2,
    )


def detect_autoencoder(vae: StateDict, name: str) -> AutoencoderConfig:
    """The VAE's configuration from its own state dict (no prefix). ValueError if a weight that tells it is missing, or
    if the weights are named as diffusers names them."""
    if any(key.startswith("decoder.up_blocks.") for key in vae):
        raise ValueError(
            f"{name} holds a VAE in the layout of diffusers: take one in that of Stable Diffusion, such as "
            "vae-ft-mse-840000-ema-pruned.safetensors."
        )
    if "post_quant_conv.weight" not in vae:
        raise ValueError(
            f"{name} lacks the VAE's weight post_quant_conv.weight: it is incomplete, or none of Stable Diffusion 1 "
            "or 2. Take one of those, such as vae-ft-mse-840000-ema-pruned.safetensors."
        )
    ch = _shape(vae, "encoder.conv_in.weight", name)[0]
    levels = range(_count(vae, "decoder.up."))
    return AutoencoderConfig(
        ch=ch,
        ch_mult=tuple(_shape(vae, f"decoder.up.{i}.block.0.conv1.weight", name)[0] // ch for i in levels),
        num_res_blocks=_count(vae, "decoder.up.0.block.") - 1,  # a decoder's level has one more than the encoder's
        z_channels=_shape(vae, "decoder.conv_in.weight", name)[1],
        embed_dim=_shape(vae, "post_quant_conv.weight", name)[1],
    )


def _told(metadata: dict | None, name: str) -> dict:
    """What the file says of itself. ValueError if that is no JSON object, or its prediction neither eps nor v."""
    text = (metadata or {}).get(METADATA_KEY, "{}")
    try:
        told = json.loads(text)
    except ValueError:
        told = None
    if not isinstance(told, dict) or told.get("prediction", "eps") not in ("eps", "v"):
        raise ValueError(
            f'{name}: {METADATA_KEY} of its metadata is {text}, where a JSON object such as {{"prediction": "eps"}} '
            "(or v) belongs: write the metadata anew."
        )
    return told


def _head_channels(told: dict, model_channels: int, name: str) -> int:
    """Width of an attention head: as told, or by `head_channels`. ValueError for one that no model has."""
    width = told.get("num_head_channels", head_channels(model_channels))
    if not isinstance(width, int) or width < 1 or model_channels % width:
        raise ValueError(
            f"{name}: num_head_channels of its metadata is {width!r}, which does not divide the model's width of "
            f"{model_channels}: write the metadata anew."
        )
    return width


def _weight(weights: StateDict, key: str, name: str) -> torch.Tensor:
    if key not in weights:
        raise ValueError(f"{name} lacks the weight {key}: the file is incomplete, download it again.")
    return weights[key]


def _shape(weights: StateDict, key: str, name: str) -> torch.Size:
    return _weight(weights, key, name).shape


def _count(weights: StateDict, prefix: str) -> int:
    """How many numbers follow `prefix`: 3 for keys that start with `prefix`0., `prefix`1. and `prefix`2."""
    return len({key[len(prefix) :].split(".")[0] for key in weights if key.startswith(prefix)})


def _input_levels(unet: StateDict, name: str) -> list[list[tuple[int, int]]]:
    """(width, transformer depth) of each residual block, by level; a strided convolution ends a level."""
    levels = [[]]
    for i in range(1, _count(unet, "input_blocks.")):
        block = f"input_blocks.{i}."
        if f"{block}0.op.weight" in unet:
            levels.append([])
        else:
            width = _shape(unet, f"{block}0.out_layers.3.weight", name)[0]
            levels[-1].append((width, _count(unet, f"{block}1.transformer_blocks.")))
    return levels

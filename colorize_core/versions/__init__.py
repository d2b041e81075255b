"""Which ColorizeDiffusion is this checkpoint? Each version is a module; VERSIONS is what the others know of them.

What a model predicts, eps or v, nothing in its weights tells. It is what the first of these says: the file's own
metadata; a `v_pred` key (v); the table of published names; a word of the file's name; what its version usually is.
"""

import logging
import re
from pathlib import Path

from ..checkpoint.config import Config, Version
from ..checkpoint.keys import UNET_PREFIX, StateDict, count, from_published_keys
from ..checkpoint.metadata import Facts, read_facts
from ..checkpoint.unet import detect_unet
from . import v1, v1_5, v2, xl

logger = logging.getLogger(__name__)

VERSIONS = [xl.ADAPTED_VERSION, xl.VERSION, v2.VERSION, v1_5.VERSION, v1.VERSION]  # the most particular first
PREDICTION_WORDS = {"eps": "eps", "v": "v", "vpred": "v"}


def detect_version(checkpoint: StateDict) -> Version | None:
    """The first of VERSIONS of which a key has a mark; None for a checkpoint that is not ColorizeDiffusion's."""
    return next((v for v in VERSIONS if any(mark in key for key in checkpoint for mark in v.marks)), None)


def detect_prediction(checkpoint: StateDict, version: Version, facts: Facts, name: str = "") -> str:
    """`eps` or `v`, by the rule above. `name` is the file's name, with or without its ending."""
    if facts.prediction:
        return facts.prediction
    if "v_pred" in checkpoint:
        return "v"
    stem = Path(name).stem.lower()
    words = re.split(r"[^a-z0-9]+", stem)
    by_word = (PREDICTION_WORDS[word] for word in words if word in PREDICTION_WORDS)
    return version.predictions.get(stem) or next(by_word, version.default_prediction)


def detect(
    checkpoint: StateDict,
    name: str,
    metadata: dict[str, str] | None = None,
    prediction: str = "auto",
    token_type: str = "attention",
) -> Config:
    """The configuration of a checkpoint in published keys.

    `name` is the file's: the rule for eps and v looks at it, and errors call the file so. A `prediction` other than
    `auto` overrules it. It warns where the file says that its model was trained on another `token_type`. ValueError for
    whatever is not a complete ColorizeDiffusion checkpoint.
    """
    if not any(key.startswith(UNET_PREFIX) for key in checkpoint):
        raise ValueError(
            f"{name} holds no denoiser ({UNET_PREFIX}*), so it is no checkpoint: "
            "choose a ColorizeDiffusion file, such as mult-eps-ft.safetensors."
        )
    version = detect_version(checkpoint)
    if version is None:
        raise ValueError(
            f"{name} has no sketch encoder (control_encoder.*), so it is another model than ColorizeDiffusion: load it "
            "with Load Checkpoint."
        )
    facts = read_facts(checkpoint, metadata, name)
    if prediction == "auto":
        prediction = detect_prediction(checkpoint, version, facts, name)
    warn_of_other_tokens(facts, name, token_type)
    unet = from_published_keys(checkpoint, version.parts)
    unet_heads, *other_heads = facts.head_channels
    shape = detect_unet(unet, name, unet_heads)
    if (blocks := count(unet, "input_blocks.")) != version.hints.blocks[-1] + 1:
        raise ValueError(
            f"{name}: its denoiser has {blocks} input blocks where the sketch encoder of a "
            f"{version.name} model feeds {version.hints.blocks[-1] + 1}: the file was put together wrongly, get "
            "another."
        )
    outputs, expected = len(shape.transformer_depth_output), sum(blocks + 1 for blocks in shape.num_res_blocks)
    if outputs != expected:
        raise ValueError(
            f"{name}: its denoiser has {outputs} output blocks where {expected} belong to its inputs: the file is "
            "incomplete or was put together wrongly, get another."
        )
    config = Config(version, prediction, token_type, shape, *(width or 0 for width in other_heads))
    return version.configure(config, unet, name)


def warn_of_other_tokens(facts: Facts, name: str, chosen: str) -> None:
    """Warns where the file says that its model was trained on other tokens than `chosen`: `attention` or `cls`."""
    if facts.token_type not in (None, chosen):
        logger.warning("%s was trained with token_type %s, and %s is chosen.", name, facts.token_type, chosen)

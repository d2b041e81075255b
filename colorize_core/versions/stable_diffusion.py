"""Stable Diffusion 2 as a v1 model without its sketch encoder: what a new colorizer can start from."""

from dataclasses import replace

import torch

from ..checkpoint.config import Config
from ..checkpoint.keys import StateDict, from_published_keys, weight
from ..checkpoint.metadata import read_facts
from ..checkpoint.unet import detect_unet
from . import detect_prediction, v1

# Published files of 768 pixels, whose names have no word for what they predict.
PUBLISHED_PREDICTIONS = {"v2-1_768-ema-pruned": "v", "v2-1_768-nonema-pruned": "v"}
# The values of this bias spread more where the model predicts v: so the host tells them apart.
V_SPREAD_IN, V_SPREAD = "output_blocks.11.1.transformer_blocks.0.norm1.bias", 0.09


def from_stable_diffusion(
    checkpoint: StateDict, name: str, token_type: str = "attention"
) -> tuple[Config, dict[str, torch.Tensor]]:
    """The denoiser of a Stable Diffusion 2 checkpoint as a v1 model: what it lacks is the sketch encoder.

    Its transformers' linear projections [C,C] become convolutions [C,C,1,1], which compute the same. It predicts v
    where its weights look so, whatever its name. ValueError for any other Stable Diffusion: heads, conditions or
    channels differ.
    """
    unet = from_published_keys(checkpoint)
    projections = {key: value for key, value in unet.items() if key.endswith(("proj_in.weight", "proj_out.weight"))}
    is_linear = any(value.ndim == 2 for value in projections.values())
    text_alone = "label_emb.0.0.weight" not in unet and weight(unet, "input_blocks.0.0.weight", name).shape[1] == 4
    if not is_linear or not text_alone:
        raise ValueError(
            f"{name} is a Stable Diffusion checkpoint, but none of version 2 or 2.1 for text to image, the only ones "
            "that a colorizer can start from: take v2-1_512-ema-pruned.safetensors."
        )
    facts = read_facts(checkpoint, None, name)
    version = replace(v1.VERSION, predictions=PUBLISHED_PREDICTIONS)
    spread = weight(unet, V_SPREAD_IN, name).float().std(correction=0)
    prediction = "v" if spread > V_SPREAD else detect_prediction(checkpoint, version, facts, name)
    shape = replace(detect_unet(unet, name), use_linear_in_transformer=False)
    unet |= {key: value[:, :, None, None] for key, value in projections.items()}
    return Config(v1.VERSION, prediction, token_type, shape), unet

"""CLIP on the host's own classes: loading a file, a reference picture's tokens, a text's features."""

from pathlib import Path

import comfy.clip_vision
import comfy.model_management
import comfy.sd
import comfy.supported_models_base
import comfy.utils
import folder_paths
import torch
import torch.nn.functional as F
from comfy.text_encoders.sd2_clip import SD2ClipModel, SD2Tokenizer

from ..clip_config import (
    CONTEXT,
    TEXT_KEYS,
    VISION_KEYS,
    VOCABULARY,
    WHOLE_FILE,
    ClipConfig,
    Tower,
    detect_clip,
    has_text,
    has_vision,
    import_open_clip,
)
from ..finite import is_finite
from ..tokens import ReferenceTokens, preprocess
from .files import read_state_dict

TEXT_LAYERS = {"penultimate": -2, "last": -1}


class MissingTower:
    """Stands in for the half of a CLIP that its file does not have: using it says so."""

    def __init__(self, sentence: str):
        self._sentence = sentence

    def __getattr__(self, name: str):
        raise AttributeError(self._sentence)


def load_clip(path: str) -> tuple[comfy.clip_vision.ClipVisionModel | MissingTower, comfy.sd.CLIP | MissingTower]:
    """Image and text encoder of a CLIP file in open_clip's or Hugging Face's keys.

    Where the file has only one of them, a MissingTower is the other. A token table may be stored as the rows that are
    used, `token_embedding.weight` [K,W], with their numbers `token_embedding.ids` [K]; all other rows are zero.
    Raises ValueError, naming the file, for one that is damaged, no CLIP, or of an unknown architecture.
    """
    name = Path(path).name
    state_dict, config = _read(path)
    clip_vision = clip = None
    if has_vision(state_dict):
        clip_vision = comfy.clip_vision.ClipVisionModel(_vision_config(config))
        clip_vision.load_sd(_part(state_dict, VISION_KEYS))
    if has_text(state_dict):
        clip = _text_encoder(state_dict, config)
        clip.patcher.cached_patcher_init = (load_text_patcher, (path,))
    return (
        clip_vision or MissingTower(f"{name} has no image encoder: to encode a reference, load {WHOLE_FILE}."),
        clip or MissingTower(f"{name} has no text encoder: to use text, load {WHOLE_FILE}."),
    )


def load_text_patcher(path: str, disable_dynamic: bool = False):
    """The text encoder's patcher alone, afresh: how the host makes another copy of it."""
    return _text_encoder(*_read(path), disable_dynamic).patcher


def encode_reference(clip_vision: comfy.clip_vision.ClipVisionModel, image: torch.Tensor) -> ReferenceTokens:
    """The tokens of reference pictures `image` [B,H,W,C] in 0..1, every one through the last norm and the projection.

    `clip_vision` may come from any loader. Raises ValueError for one that is no CLIP with a projection (SigLIP, DINO),
    and for a picture that cannot be used.
    """
    network = clip_vision.model
    if clip_vision.model_type != "clip_vision_model" or not isinstance(network.visual_projection, torch.nn.Module):
        raise ValueError(
            f"clip_vision: a {clip_vision.model_type} is not the CLIP that the model knows its references by. "
            f"Load {WHOLE_FILE}."
        )
    comfy.model_management.load_model_gpu(clip_vision.patcher)
    pixels = preprocess(image, clip_vision.image_size, clip_vision.image_mean, clip_vision.image_std)
    hidden = network.vision_model(pixels.to(clip_vision.load_device))[0]
    tokens = network.visual_projection(network.vision_model.post_layernorm(hidden))
    tokens = tokens.to(comfy.model_management.intermediate_device(), torch.float32)
    if not is_finite(tokens):
        raise ValueError(
            "clip_vision: what it makes of the picture is NaN, infinite or far too large: its file is damaged or its "
            "precision too low. Get the file again, or start ComfyUI with --fp32-text-enc."
        )
    return ReferenceTokens(cls=tokens[:, :1], local=tokens[:, 1:])


def encode_text(clip: comfy.sd.CLIP, texts: list[str], layer: str = "penultimate") -> torch.Tensor:
    """Features [K,D] of K texts in the joint space of text and image, of length 1, float32 on the intermediate device.

    `layer` is the block after which the final norm and the projection are applied: "last" as CLIP was trained,
    "penultimate" as SD 2 uses it. Texts are tokenized as open_clip does, so parentheses and "embedding:" mean
    themselves, and only the first 75 tokens count. Raises ValueError for a text encoder without a projection.
    """
    open_clip = import_open_clip()
    model = clip.cond_stage_model
    encoder = getattr(model, getattr(model, "clip", ""), None)
    if not hasattr(encoder, "transformer") or not hasattr(encoder.transformer, "text_projection"):
        raise ValueError(f"clip: this text encoder is not a CLIP of one tower. Load {WHOLE_FILE}.")

    tokens = open_clip.tokenize(texts, CONTEXT)
    clip = clip.clone()
    clip.clip_layer(TEXT_LAYERS[layer])
    rows = [[(token, 1.0) for token in row] for row in tokens.tolist()]
    hidden = clip.encode_from_tokens({model.clip_name: rows}).unflatten(1, (len(texts), CONTEXT))[0]
    end_of_text = hidden[torch.arange(len(texts)), tokens.argmax(dim=-1)].float()

    # The matrix as the module applies it: the weight itself may lie elsewhere, or in another type.
    identity = torch.eye(hidden.shape[-1], device=clip.patcher.load_device)
    projection = encoder.transformer.text_projection(identity).to(end_of_text)
    features = end_of_text @ projection
    if not is_finite(features):
        raise ValueError(
            "clip: what it makes of a text is NaN, infinite or far too large: its file is damaged or its precision "
            "too low. Get the file again, or start ComfyUI with --fp32-text-enc."
        )
    if not 1e-4 < projection.std() < 10:  # what is there when the file had none
        raise ValueError(f"clip: its file has no text projection, as those made for SD 2 have none. Load {WHOLE_FILE}.")
    return F.normalize(features, dim=-1)


def _read(path: str) -> tuple[dict[str, torch.Tensor], ClipConfig]:
    """State dict of a CLIP file in Hugging Face's keys, with a whole token table, and its configuration."""
    name = Path(path).name
    state_dict, metadata = read_state_dict(path)
    for ids_key in [key for key in state_dict if key.endswith("token_embedding.ids")]:
        weight_key = ids_key.removesuffix("ids") + "weight"
        state_dict[weight_key] = _whole_table(state_dict.get(weight_key), state_dict.pop(ids_key), name)
    try:
        state_dict = _in_transformers_keys(state_dict)
    except (IndexError, KeyError, AttributeError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"{name}: some of its weights have no shape that a CLIP's have, so it is damaged or was put together "
            f"wrongly. Load {WHOLE_FILE}."
        ) from error
    if not has_vision(state_dict) and not has_text(state_dict):
        raise ValueError(f"{name} is not a CLIP (no visual.*, vision_model.* or text_model.*). Load {WHOLE_FILE}.")
    config = detect_clip(state_dict, metadata, name)
    for key in config.shapes().keys() & state_dict.keys():
        if not state_dict[key].is_floating_point():
            raise ValueError(
                f"{name}: {key} is of the type {state_dict[key].dtype}. Get the file in float16 or float32."
            )
    return state_dict, config


def _in_transformers_keys(state_dict: dict) -> dict:
    if "visual.transformer.resblocks.0.ln_1.weight" in state_dict:
        state_dict = comfy.clip_vision.convert_to_transformers(state_dict, "visual.")
    if "transformer.resblocks.0.ln_1.weight" in state_dict:
        state_dict = comfy.utils.clip_text_transformers_convert(state_dict, "", "")
    return state_dict


def _whole_table(rows: torch.Tensor | None, ids: torch.Tensor, name: str) -> torch.Tensor:
    """A token table of VOCABULARY rows of which only `rows` [K,W], those of `ids` [K], are not zero."""
    fit = rows is not None and rows.ndim == 2 and len(rows) and ids.shape == rows.shape[:1] and not ids.is_complex()
    are_numbers = fit and ids.min() >= 0 and ids.max() < VOCABULARY and len(ids.long().unique()) == len(ids)
    if not are_numbers:  # NaN is neither below nor above
        raise ValueError(
            f"{name}: its token_embedding.ids are not the different numbers, below {VOCABULARY}, of the rows of its "
            "token_embedding.weight: get the file again."
        )
    table = rows.new_zeros(VOCABULARY, rows.shape[1])
    table[ids.long()] = rows
    return table


def _text_encoder(state_dict: dict, config: ClipConfig, disable_dynamic: bool = False) -> comfy.sd.CLIP:
    text = _part(state_dict, TEXT_KEYS)
    return comfy.sd.CLIP(
        comfy.supported_models_base.ClipTarget(SD2Tokenizer, SD2ClipModel),
        embedding_directory=folder_paths.get_folder_paths("embeddings"),
        parameters=comfy.utils.calculate_parameters(text),
        state_dict=[text],
        model_options={"clip_h_model_config": _tower_config(config.text, config)},
        disable_dynamic=disable_dynamic,
    )


def _vision_config(config: ClipConfig) -> dict:
    return _tower_config(config.vision, config) | {
        "model_type": "clip_vision_model",
        "num_channels": 3,
        "patch_size": config.patch_size,
        "image_size": config.image_size,
        "image_mean": config.mean,
        "image_std": config.std,
        "projection_dim": config.embed_dim,
    }


def _tower_config(tower: Tower, config: ClipConfig) -> dict:
    """A tower in the host's terms."""
    return {
        "hidden_size": tower.width,
        "num_hidden_layers": tower.layers,
        "num_attention_heads": tower.heads,
        "intermediate_size": tower.mlp_width,
        "hidden_act": config.activation,
    }


def _part(state_dict: dict, prefixes: tuple[str, ...]) -> dict:
    return {key: value for key, value in state_dict.items() if key.startswith(prefixes)}

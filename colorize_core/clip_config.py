"""Which CLIP is this state dict? What its shapes cannot tell comes from the file's metadata or open_clip's table.

Shapes tell widths, depths, patches and the joint dimension; they do not tell heads, activation and normalization.
Keys are those of Hugging Face's CLIPModel.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

VOCABULARY, CONTEXT = 49408, 77  # of CLIP's own tokenizer
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
LARGEST_COUNT, LARGEST_RATIO, LARGEST_DEPTH = 2**17, 64, 256  # far beyond any CLIP: what shapes are made of ends
MODEL_CFG_KEY = "open_clip_config"
VISION_KEYS, TEXT_KEYS = ("vision_model.", "visual_projection."), ("text_model.", "text_projection.")
WHOLE_FILE = "open_clip_model.safetensors of laion/CLIP-ViT-H-14-laion2B-s32B-b79K (Hugging Face)"

# The settings of a plain ViT CLIP in open_clip's `model_cfg`; any other makes it another kind of network.
PLAIN_SETTINGS = {
    "model": {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"},
    "vision_cfg": {"image_size", "layers", "width", "head_width", "patch_size", "mlp_ratio"},
    "text_cfg": {"context_length", "vocab_size", "layers", "width", "heads", "mlp_ratio"},
}


@dataclass(frozen=True)
class Tower:
    """One transformer of a CLIP."""

    width: int
    layers: int
    heads: int
    mlp_width: int

    def shapes(self, prefix: str) -> dict[str, tuple[int, ...]]:
        """State-dict keys and shapes of its blocks."""
        shapes = {}
        for layer in range(self.layers):
            block = f"{prefix}.encoder.layers.{layer}."
            for norm in ("layer_norm1", "layer_norm2"):
                shapes |= _affine(block + norm, self.width)
            for linear in ("q_proj", "k_proj", "v_proj", "out_proj"):
                shapes |= _affine(block + "self_attn." + linear, self.width, self.width)
            shapes |= _affine(block + "mlp.fc1", self.mlp_width, self.width)
            shapes |= _affine(block + "mlp.fc2", self.width, self.mlp_width)
        return shapes


@dataclass(frozen=True)
class ClipConfig:
    """A plain ViT CLIP. `activation` is "gelu" or "quick_gelu"; `mean` and `std` normalize RGB in 0..1."""

    embed_dim: int
    vision: Tower
    text: Tower
    patch_size: int
    image_size: int
    activation: str
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD

    @classmethod
    def from_open_clip(cls, model_cfg: dict) -> "ClipConfig":
        """From open_clip's `model_cfg`. Raises ValueError for one that is no plain ViT CLIP, KeyError for gaps."""
        vision, text = model_cfg["vision_cfg"], model_cfg["text_cfg"]
        for name, part in (("model", model_cfg), ("vision_cfg", vision), ("text_cfg", text)):
            if unknown := part.keys() - PLAIN_SETTINGS[name]:
                raise ValueError(f"it has {', '.join(sorted(unknown))}")
        ratios = [part.get("mlp_ratio", 1) for part in (vision, text)]
        counts = [value for part in (vision, text) for key, value in part.items() if key != "mlp_ratio"]
        if not all(type(count) is int and 0 < count <= LARGEST_COUNT for count in (model_cfg["embed_dim"], *counts)):
            raise ValueError("it has settings that are not positive numbers, or far too large ones")  # as ResNets have
        if not all(isinstance(ratio, int | float) and 0 < ratio <= LARGEST_RATIO for ratio in ratios):
            raise ValueError("its mlp_ratio is no factor of a width")
        if vision["width"] % vision.get("head_width", 64) or text["width"] % text.get("heads", 8):
            raise ValueError("its heads do not divide its width")
        if max(vision["layers"], text["layers"]) > LARGEST_DEPTH:
            raise ValueError(f"it has more than {LARGEST_DEPTH} layers")
        return cls(
            embed_dim=model_cfg["embed_dim"],
            vision=_tower(vision, vision["width"] // vision.get("head_width", 64)),
            text=_tower(text, text.get("heads", 8)),
            patch_size=vision["patch_size"],
            image_size=vision["image_size"],
            activation="quick_gelu" if model_cfg.get("quick_gelu") else "gelu",
        )

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """State-dict keys and shapes of both towers."""
        vision, text, patches = self.vision.width, self.text.width, (self.image_size // self.patch_size) ** 2
        return {
            "vision_model.embeddings.class_embedding": (vision,),
            "vision_model.embeddings.patch_embedding.weight": (vision, 3, self.patch_size, self.patch_size),
            "vision_model.embeddings.position_embedding.weight": (patches + 1, vision),
            **_affine("vision_model.pre_layrnorm", vision),
            **self.vision.shapes("vision_model"),
            **_affine("vision_model.post_layernorm", vision),
            "visual_projection.weight": (self.embed_dim, vision),
            "text_model.embeddings.token_embedding.weight": (VOCABULARY, text),
            "text_model.embeddings.position_embedding.weight": (CONTEXT, text),
            **self.text.shapes("text_model"),
            **_affine("text_model.final_layer_norm", text),
            "text_projection.weight": (self.embed_dim, text),
        }

    def misfit(self, state_dict: dict) -> str | None:
        """What keeps `state_dict`, with one tower or both, from being of this configuration; None if nothing does."""
        towers = (VISION_KEYS if has_vision(state_dict) else ()) + (TEXT_KEYS if has_text(state_dict) else ())
        expected = {key: shape for key, shape in self.shapes().items() if key.startswith(towers)}
        for key, shape in expected.items():
            if key not in state_dict:
                return f"{key} is missing"
            if tuple(state_dict[key].shape) != shape:
                return f"{key} is {list(state_dict[key].shape)}, not {list(shape)}"
        surplus = (key for key in state_dict if ".encoder.layers." in key and key not in expected)
        return next((f"{key} is one too many" for key in surplus), None)


# OpenCLIP's ViT-H-14 and ViT-bigG-14, the CLIPs of the published models (the latter of XL): known here, so that their
# files are read without open_clip.
VIT_H = ClipConfig(
    embed_dim=1024,
    vision=Tower(width=1280, layers=32, heads=16, mlp_width=5120),
    text=Tower(width=1024, layers=24, heads=16, mlp_width=4096),
    patch_size=14,
    image_size=224,
    activation="gelu",
)
VIT_BIG_G = ClipConfig(
    embed_dim=1280,
    vision=Tower(width=1664, layers=48, heads=16, mlp_width=8192),
    text=Tower(width=1280, layers=32, heads=20, mlp_width=5120),
    patch_size=14,
    image_size=224,
    activation="gelu",
)
OTHERS_OF_THEIR_SHAPE = ("metaclipfullcc", "dfn5b")  # training sets of open_clip's table whose activation is another


def has_vision(state_dict: dict) -> bool:
    return "vision_model.encoder.layers.0.layer_norm1.weight" in state_dict


def has_text(state_dict: dict) -> bool:
    return "text_model.encoder.layers.0.layer_norm1.weight" in state_dict


def detect_clip(state_dict: dict, metadata: dict[str, str] | None, file_name: str) -> ClipConfig:
    """The configuration of a CLIP file: from its metadata if that has it, else the one in open_clip's table that fits.

    Where the table has several of the same shapes, a training set named in the file name decides, then OpenAI's own
    (if there is one), then the table's order. Raises ValueError, naming the file.
    """
    if MODEL_CFG_KEY in (metadata or {}):
        return _from_metadata(state_dict, metadata[MODEL_CFG_KEY], file_name)

    name = _letters(file_name)
    if not any(tag in name for tag in OTHERS_OF_THEIR_SHAPE):
        for published in (VIT_H, VIT_BIG_G):
            if published.misfit(state_dict) is None:
                return published
    fitting = [(config, tag) for config, tag in open_clip_table() if config.misfit(state_dict) is None]
    if not fitting:
        raise ValueError(
            f"{file_name}: its shapes fit no ViT CLIP that open_clip knows, or parts are missing. Use an OpenCLIP file "
            f'such as {WHOLE_FILE}, or add its open_clip model_cfg as JSON to its metadata ("{MODEL_CFG_KEY}").'
        )
    named = [config for config, tag in fitting if tag and _letters(tag) in name]
    openai = [config for config, tag in fitting if tag == "openai"]
    return (named or openai or [config for config, _ in fitting])[0]


def import_open_clip():
    """The open_clip package, which ComfyUI does not bring. ImportError says how to get it."""
    try:
        import open_clip
    except ImportError as error:
        raise ImportError(
            "open_clip is not installed: in ComfyUI's Python, run `pip install -r requirements.txt` in the folder of "
            "this node pack, then restart ComfyUI."
        ) from error
    return open_clip


def open_clip_table() -> Iterator[tuple[ClipConfig, str]]:
    """open_clip's plain ViT CLIPs, each with the name of what it was trained on ("" where nothing was published)."""
    open_clip = import_open_clip()
    for name in open_clip.list_models():
        try:
            config = ClipConfig.from_open_clip(open_clip.get_model_config(name))
        except (ValueError, KeyError):
            continue  # another kind of network
        for tag in open_clip.list_pretrained_tags_by_model(name) or [""]:
            trained = open_clip.get_pretrained_cfg(name, tag)
            known = {key: trained[key] for key in ("mean", "std") if key in trained}
            if trained.get("quick_gelu"):
                known["activation"] = "quick_gelu"
            yield replace(config, **known), tag


def _from_metadata(state_dict: dict, text: str, file_name: str) -> ClipConfig:
    try:
        config = ClipConfig.from_open_clip(_model_cfg(text))
    except (ValueError, KeyError) as error:
        problem = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise ValueError(
            f'{file_name}: "{MODEL_CFG_KEY}" in its metadata is not the model_cfg of a plain ViT CLIP ({problem}). '
            "Write that of this network there, as open_clip has it, or get the file again."
        ) from error
    if misfit := config.misfit(state_dict):
        raise ValueError(
            f'{file_name}: it does not fit "{MODEL_CFG_KEY}" in its metadata: {misfit}. Get the file again, or '
            "write the model_cfg of this network into its metadata."
        )
    return config


def _model_cfg(text: str) -> dict:
    """The `model_cfg` in a file's metadata. ValueError for what is none."""
    try:
        model_cfg = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError("it is no JSON") from error
    parts = [model_cfg, *map(model_cfg.get, ("vision_cfg", "text_cfg"))] if isinstance(model_cfg, dict) else [None]
    if not all(isinstance(part, dict) for part in parts):
        raise ValueError("it is no object with vision_cfg and text_cfg, objects too")
    return model_cfg


def _tower(cfg: dict, heads: int) -> Tower:
    return Tower(cfg["width"], cfg["layers"], heads, int(cfg["width"] * cfg.get("mlp_ratio", 4.0)))


def _affine(name: str, *weight: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": weight, f"{name}.bias": weight[:1]}


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())

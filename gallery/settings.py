"""What a template is filled with: the published files and sizes, or the demo's."""

from dataclasses import dataclass, field

PUBLISHED_AT = "https://huggingface.co/tellurion/ColorizeDiffusion/resolve/main/"


@dataclass(frozen=True)
class Setting:
    """Files, sizes and words of a template's nodes.

    `models` are the checkpoints by version and `clip` is the CLIP, as the browser's download dialog wants them: name,
    url, directory; `other_clips` are those of versions that take another. What has no name is left to the user. `side`
    is that of a picture in pixels, by version. `pictures` are files in ComfyUI's input folder by the titles of the
    nodes that load them; where there is none, the choice is left to the user. `anchor` is what the reference shows,
    `target` what words make of it, `control` where. `has_loras` says whether there may be any.
    """

    models: dict[str, dict]
    clip: dict
    side: dict[str, int]
    reference_guidance: float
    other_clips: dict[str, dict] = field(default_factory=dict)
    pictures: dict[str, str] = field(default_factory=dict)
    anchor: str = "blonde hair"
    target: str = "red hair"
    control: str = "hair"
    has_loras: bool = True


def file_of(name: str, url: str, directory: str) -> dict[str, str]:
    return {"name": name, "url": url, "directory": directory}


PUBLISHED = Setting(
    models={
        "v1": file_of("mult-eps-ft.safetensors", PUBLISHED_AT + "mult-eps-ft.safetensors", "checkpoints"),
        "v1.5": file_of("switch-eps.safetensors", PUBLISHED_AT + "switch-eps.safetensors", "checkpoints"),
        "v2": file_of("v2-full.safetensors", PUBLISHED_AT + "v2-full.safetensors", "checkpoints"),
        "XL": file_of("", "", "checkpoints"),
    },
    clip=file_of(
        "open_clip_model.safetensors",
        "https://huggingface.co/laion/CLIP-ViT-H-14-laion2B-s32B-b79K/resolve/main/open_clip_model.safetensors",
        "clip_vision",
    ),
    other_clips={"XL": file_of("", "", "clip_vision")},
    side={"v1": 512, "v1.5": 512, "v2": 768, "XL": 1024},
    reference_guidance=4.0,
)

DEMO = Setting(
    models={"v1": file_of("colorize-demo.safetensors", "", "checkpoints")},
    clip=file_of("clip-demo.safetensors", "", "clip_vision"),
    side={"v1": 256},
    reference_guidance=2.5,
    pictures={
        "Drawing": "sketch.png",
        "Second drawing": "second-sketch.png",
        "Drawing of both": "two-characters.png",
        "Reference": "reference.png",
        "Reference of the left one": "reference.png",
        "Reference of the right one": "right-reference.png",
        "Mask of the right one": "right-character.png",
        "Mask of the drawing's figure": "sketch-figure.png",
        "Mask of the reference's": "reference-figure.png",
        "Background": "right-reference.png",
        "Colored picture": "colored.png",
    },
    has_loras=False,
)

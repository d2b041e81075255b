import os

import folder_paths
from comfy_api.latest import io

from ..colorize_core.clip_config import WHOLE_FILE
from ..colorize_core.host.clip import load_clip
from ..colorize_core.host.load import load_checkpoint
from ..colorize_core.host.tagger import load_tagger
from ..colorize_core.tagger import TAGGER_FILE
from .sockets import CATEGORY, Tagger

CHECKPOINT_FOLDERS = ("checkpoints",)
CLIP_FOLDERS = ("clip_vision", "text_encoders")
TAGGER_FOLDERS = ("clip_vision", "checkpoints")


class LoadCheckpoint(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ColorizeDiffusion_LoadCheckpoint",
            display_name="Load ColorizeDiffusion Checkpoint",
            category=CATEGORY,
            description="Loads a ColorizeDiffusion checkpoint of any version: a model with its encoders, and a VAE.",
            search_aliases=["load colorize model", "checkpoint loader", "anime", "上色", "着色"],
            inputs=[
                io.Combo.Input(
                    "ckpt_name",
                    options=folder_paths.get_filename_list("checkpoints"),
                    tooltip="A file of the checkpoints folder, such as mult-eps-ft.safetensors.",
                ),
                io.Combo.Input(
                    "prediction",
                    options=["auto", "eps", "v"],
                    default="auto",
                    advanced=True,
                    tooltip="What the model predicts. auto knows the published files, then goes by the file's name. "
                    "If it is wrong, the result is noise.",
                ),
                io.Combo.Input(
                    "token_type",
                    options=["attention", "cls"],
                    default="attention",
                    advanced=True,
                    tooltip="Which tokens of the reference the model was trained on; the published files: attention.",
                ),
            ],
            outputs=[
                io.Model.Output("model", tooltip="The colorizer."),
                io.Vae.Output("vae", tooltip="Turns pictures into latents and back."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, ckpt_name, **others):
        return _file_state(ckpt_name, CHECKPOINT_FOLDERS)

    @classmethod
    def execute(cls, ckpt_name, prediction="auto", token_type="attention"):
        path = _path_of(ckpt_name, CHECKPOINT_FOLDERS)
        return io.NodeOutput(*load_checkpoint(path, prediction, token_type))


class LoadCLIP(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ColorizeDiffusion_LoadCLIP",
            display_name="Load Reference CLIP",
            category=CATEGORY,
            description="Loads the CLIP through which the model knows its references and texts: OpenCLIP ViT-H-14, "
            "for XL ViT-bigG-14.",
            search_aliases=["open_clip", "clip vision", "ViT-H", "ViT-bigG"],
            inputs=[
                io.Combo.Input(
                    "clip_name",
                    options=_file_names(CLIP_FOLDERS),
                    tooltip="A CLIP file of models/clip_vision or models/text_encoders, as OpenCLIP or Hugging Face "
                    f"store it; for the published models {WHOLE_FILE}, for XL ViT-bigG-14 (laion2B-39B-b160k).",
                ),
            ],
            outputs=[
                io.ClipVision.Output("clip_vision", tooltip="The image encoder, for Encode Reference."),
                io.Clip.Output("clip", tooltip="The text encoder, for adjusting a reference with text."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, clip_name):
        return _file_state(clip_name, CLIP_FOLDERS)

    @classmethod
    def execute(cls, clip_name):
        return io.NodeOutput(*load_clip(_path_of(clip_name, CLIP_FOLDERS)))


class LoadTagger(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ColorizeDiffusion_LoadTagger",
            display_name="Load Tagger (XL)",
            category=CATEGORY,
            description="Loads the tagger that ColorizeDiffusion XL looks at references through, beside CLIP.",
            search_aliases=["wd tagger", "swinv2", "image encoder"],
            is_experimental=True,
            inputs=[
                io.Combo.Input(
                    "tagger_name",
                    options=_file_names(TAGGER_FOLDERS),
                    tooltip=f"A file of models/clip_vision that holds {TAGGER_FILE}, or the XL checkpoint itself if it "
                    "brings its tagger.",
                ),
            ],
            outputs=[Tagger.Output("tagger", tooltip="The second image encoder, for Encode Reference.")],
        )

    @classmethod
    def fingerprint_inputs(cls, tagger_name):
        return _file_state(tagger_name, TAGGER_FOLDERS)

    @classmethod
    def execute(cls, tagger_name):
        return io.NodeOutput(load_tagger(_path_of(tagger_name, TAGGER_FOLDERS)))


def _file_names(folders: tuple[str, ...]) -> list[str]:
    """The files of the folders. Of a name that lies in several, the first is listed as it is, the others with their
    folder before it."""
    names = []
    for folder in folders:
        names += [f"{folder}/{name}" if name in names else name for name in folder_paths.get_filename_list(folder)]
    return sorted(names)


def _path_of(name: str, folders: tuple[str, ...]) -> str:
    """The file that `_file_names` lists by that name. ValueError if it is not there any more."""
    named = [(folder, name) for folder in folders]
    named += [(folder, name.removeprefix(f"{folder}/")) for folder in folders if name.startswith(f"{folder}/")]
    paths = (folder_paths.get_full_path(*place) for place in named)
    if path := next(filter(None, paths), None):
        return path
    raise ValueError(f"{name} is no longer in models/{' or models/'.join(folders)}: choose another, or put it back.")


def _file_state(name: str | None, folders: tuple[str, ...]) -> tuple[int, int] | None:
    """When a file was written, and its size: one put in its place is loaded anew. A connected name is not known yet."""
    if name is None:
        return None
    state = os.stat(_path_of(name, folders))
    return state.st_mtime_ns, state.st_size


NODES = [LoadCheckpoint, LoadCLIP, LoadTagger]

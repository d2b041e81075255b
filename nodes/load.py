import folder_paths
from comfy_api.latest import io

from ..colorize_core.clip_config import WHOLE_FILE
from ..colorize_core.host.clip import load_clip
from ..colorize_core.host.load import load_checkpoint
from .sockets import CATEGORY

CLIP_FOLDERS = ("clip_vision", "text_encoders")


class LoadCheckpoint(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ColorizeDiffusion_LoadCheckpoint",
            display_name="Load ColorizeDiffusion Checkpoint",
            category=CATEGORY,
            description="Loads a ColorizeDiffusion v1 checkpoint: the colorizer with its sketch encoder, and the VAE.",
            search_aliases=["load colorize model", "checkpoint loader"],
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
    def execute(cls, ckpt_name, prediction="auto", token_type="attention"):
        path = folder_paths.get_full_path_or_raise("checkpoints", ckpt_name)
        return io.NodeOutput(*load_checkpoint(path, prediction, token_type))


class LoadCLIP(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ColorizeDiffusion_LoadCLIP",
            display_name="Load Reference CLIP",
            category=CATEGORY,
            description="Loads the CLIP through which the model knows its references and texts: OpenCLIP ViT-H-14.",
            search_aliases=["open_clip", "clip vision", "ViT-H"],
            inputs=[
                io.Combo.Input(
                    "clip_name",
                    options=sorted(
                        {name for folder in CLIP_FOLDERS for name in folder_paths.get_filename_list(folder)}
                    ),
                    tooltip="A CLIP file of models/clip_vision or models/text_encoders, as OpenCLIP or Hugging Face "
                    f"store it; for the published models {WHOLE_FILE}.",
                ),
            ],
            outputs=[
                io.ClipVision.Output("clip_vision", tooltip="The image encoder, for Encode Reference."),
                io.Clip.Output("clip", tooltip="The text encoder, for adjusting a reference with text."),
            ],
        )

    @classmethod
    def execute(cls, clip_name):
        first, second = CLIP_FOLDERS
        path = folder_paths.get_full_path(first, clip_name) or folder_paths.get_full_path_or_raise(second, clip_name)
        return io.NodeOutput(*load_clip(path))


NODES = [LoadCheckpoint, LoadCLIP]

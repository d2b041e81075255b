"""ComfyUI's own Train LoRA on a ColorizeDiffusion model, fed by ordinary nodes."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

SIDE = 64
EXAMPLES = "lora-examples"


@pytest.fixture(scope="module")
def checkpoint(models_dir, golden_state_dict, tiny_vae_state_dict, golden_config_metadata):
    """Name of the small golden model with a VAE."""
    save_file(
        golden_state_dict | tiny_vae_state_dict,
        models_dir / "checkpoints" / "lora-eps.safetensors",
        golden_config_metadata,
    )
    return "lora-eps.safetensors"


@pytest.fixture(scope="module")
def examples(host, input_dir):
    """A folder of two examples, each one file: picture, sketch and reference side by side."""
    (input_dir / EXAMPLES).mkdir()
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        picture, reference = (np.full((SIDE, SIDE, 3), rng.integers(0, 255, 3)) for _ in range(2))
        sketch = np.full((SIDE, SIDE, 3), 255)
        sketch[rng.integers(SIDE), :] = 0
        strip = np.concatenate([picture, sketch, reference], axis=1).astype(np.uint8)
        Image.fromarray(strip).save(input_dir / EXAMPLES / f"{name}.png")
    return EXAMPLES


def graph(checkpoint, clip, examples):
    """From the files to conditionings and latents, one for each example."""

    def cut(place):
        region = {"x": place * SIDE, "y": 0, "width": SIDE, "height": SIDE}
        return {"class_type": "ImageCropV2", "inputs": {"image": ["strips", 0], "crop_region": region}}

    def ours(name, **inputs):
        return {"class_type": f"ColorizeDiffusion_{name}", "inputs": inputs}

    return {
        "load": ours("LoadCheckpoint", ckpt_name=checkpoint, prediction="auto", token_type="attention"),
        "clip": ours("LoadCLIP", clip_name=clip),
        "strips": {"class_type": "LoadImageDataSetFromFolder", "inputs": {"folder": examples}},
        "picture": cut(0),
        "drawing": cut(1),
        "reference": cut(2),
        "tokens": ours("EncodeReference", clip_vision=["clip", 0], image=["reference", 0]),
        "prepare": ours("PrepareSketch", image=["drawing", 0], width=SIDE, height=SIDE, polarity="auto", batch_size=1),
        "sketch": ours("EncodeSketch", sketch_image=["prepare", 0], strength=1.0),
        "conditioning": ours(
            "Conditioning", tokens=["tokens", 0], sketch=["sketch", 0], start_percent=0.0, end_percent=1.0
        ),
        "latent": {"class_type": "VAEEncode", "inputs": {"pixels": ["picture", 0], "vae": ["load", 1]}},
    }


def training(**changed):
    """Train LoRA, all else as its node has it by default."""
    inputs = {
        "model": ["load", 0],
        "latents": ["latent", 0],
        "positive": ["conditioning", 0],
        "batch_size": 1,
        "grad_accumulation_steps": 2,
        "steps": 3,
        "learning_rate": 0.01,
        "rank": 4,
        "optimizer": "AdamW",
        "loss_function": "MSE",
        "seed": 0,
        "training_dtype": "fp32",
        "lora_dtype": "fp32",
        "quantized_backward": False,
        "algorithm": "LoRA",
        "gradient_checkpointing": True,
        "checkpoint_depth": 1,
        "offloading": False,
        "existing_lora": "[None]",
        "bucket_mode": False,
        "bypass_mode": False,
    }
    return {"class_type": "TrainLoraNode", "inputs": inputs | changed}


def colorize(model):
    """Colors both examples with a model."""
    inputs = {
        "model": [model, 0],
        "tokens": ["tokens", 0],
        "sketch": ["sketch", 0],
        "latent": ["prepare", 1],
        "seed": 1,
        "steps": 2,
        "reference_guidance": 2.0,
        "sketch_guidance": 1.0,
        "sampler_name": "euler",
        "scheduler": "karras",
        "denoise": 1.0,
        "start_percent": 0.0,
        "end_percent": 1.0,
    }
    return {"class_type": "ColorizeDiffusion_Sampler", "inputs": inputs}


def capture(node, output=0):
    return {"class_type": "Capture", "inputs": {"value": [node, output]}}


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_a_trained_lora_reloads_and_changes_the_picture(run_prompt, checkpoint, tiny_clip, examples, models_dir, dtype):
    import folder_paths

    prompt = graph(checkpoint, tiny_clip, examples) | {
        "train": training(training_dtype=dtype, lora_dtype=dtype),
        "save": {
            "class_type": "SaveLoRA",
            "inputs": {"lora": ["train", 0], "prefix": f"loras/{dtype}", "steps": ["train", 2]},
        },
        "with lora": {
            "class_type": "LoraModelLoader",
            "inputs": {"model": ["load", 0], "lora": ["train", 0], "strength_model": 1.0, "bypass": False},
        },
        "plain": colorize("load"),
        "trained": colorize("with lora"),
        "see losses": capture("train", 1),
        "see plain": capture("plain"),
        "see trained": capture("trained"),
    }
    run = run_prompt(prompt)
    assert run.success, run.error
    plain, trained = (run.captured[f"see {name}"]["samples"] for name in ("plain", "trained"))
    assert len(run.captured["see losses"]["loss"]) == 6 and all(np.isfinite(run.captured["see losses"]["loss"]))
    assert (trained - plain).abs().mean() > 0.01 * plain.abs().mean()

    (saved,) = Path(folder_paths.get_output_directory(), "loras").glob(f"{dtype}*.safetensors")
    shutil.copy(saved, models_dir / "loras" / f"{dtype}.safetensors")
    loaded = {
        "class_type": "LoraLoaderModelOnly",
        "inputs": {"model": ["load", 0], "lora_name": f"{dtype}.safetensors", "strength_model": 1.0},
    }
    again = graph(checkpoint, tiny_clip, examples) | {
        "loaded": loaded,
        "result": colorize("loaded"),
        "see": capture("result"),
    }
    run = run_prompt(again)
    assert run.success, run.error
    assert torch.equal(run.captured["see"]["samples"], trained)

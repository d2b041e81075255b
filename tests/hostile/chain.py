"""A prompt through most of the pack's nodes, as faults and an audit need it: two steps of tiny models."""

import numpy as np
from PIL import Image


def whole_prompt(checkpoint: str, clip: str) -> dict[str, dict]:
    """From files to a picture, with text, a region and an injected reference; `Capture` "picture" shows it."""

    def own(name, **inputs):
        return {"class_type": f"ColorizeDiffusion_{name}", "inputs": inputs}

    def core(name, **inputs):
        return {"class_type": name, "inputs": inputs}

    text = {"clip": ["clip", 1], "anchor": "", "enhance": False, "scale": 5.0, "text_layer": "penultimate"}
    thresholds = {"threshold_0": 0.5, "threshold_1": 0.55, "threshold_2": 0.65, "threshold_3": 0.95}
    sampling = {"seed": 1, "steps": 2, "reference_guidance": 3.0, "sketch_guidance": 1.0, "denoise": 1.0}
    sampling |= {"sampler_name": "euler", "scheduler": "normal"}
    sampling |= {"start_percent": 0.0, "end_percent": 1.0}
    return {
        "drawing": core("LoadImage", image="hostile-drawing.png"),
        "reference": core("LoadImage", image="hostile-reference.png"),
        "load": own("LoadCheckpoint", ckpt_name=checkpoint, prediction="auto", token_type="attention"),
        "clip": own("LoadCLIP", clip_name=clip),
        "prepare": own("PrepareSketch", image=["drawing", 0], width=64, height=64, polarity="auto", batch_size=1),
        "sketch": own("EncodeSketch", sketch_image=["prepare", 0], strength=1.0),
        "tokens": own("EncodeReference", clip_vision=["clip", 0], image=["reference", 0]),
        "global": own("GlobalText", tokens=["tokens", 0], target="red hair", **text),
        "local": own("LocalText", tokens=["global", 0], target="blue sky", control="sky", **text, **thresholds),
        "region": own(
            "RegionReference", tokens=["local", 0], region_tokens=["tokens", 0], mask=["drawing", 1], strength=1.0
        ),
        "inject": own(
            "ReferenceInjection",
            model=["load", 0],
            vae=["load", 1],
            image=["reference", 0],
            style_fidelity=0.5,
            sketch_fidelity=0.0,
            start_percent=0.0,
        ),
        "color": own(
            "Sampler",
            model=["inject", 0],
            tokens=["region", 0],
            sketch=["sketch", 0],
            latent=["prepare", 1],
            **sampling,
        ),
        "decode": core("VAEDecode", samples=["color", 0], vae=["load", 1]),
        "crop": own("CropToSketch", image=["decode", 0], sketch=["drawing", 0], resize_to_sketch=False),
        "save": core("SaveImage", images=["crop", 0], filename_prefix="hostile"),
        "picture": core("Capture", value=["crop", 0]),
    }


def draw_inputs(folder) -> None:
    """The two pictures of the prompt, in ComfyUI's input folder."""
    pixels = np.random.RandomState(0).randint(0, 255, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "hostile-reference.png")
    drawing = np.full((48, 64, 3), 255, np.uint8)
    drawing[20:22] = 0
    Image.fromarray(drawing).save(folder / "hostile-drawing.png")

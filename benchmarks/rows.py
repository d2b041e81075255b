"""What the table measures, in groups whose members take turns: (row, column) to a function that does it once."""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import comfy.model_management
import torch
import torch.nn.functional as F

from colorize_core import manipulation
from colorize_core.host.block_cache import with_block_cache
from colorize_core.host.clip import encode_reference
from colorize_core.host.colorize import colorize
from colorize_core.host.injection import INJECTION, Injection
from environment import COMFYUI, ROOT

from . import layers, published
from .published import random_sketch, random_tokens, with_figure, with_regions

HOST, PLAIN, DROPPED, CACHE, ALL = "ComfyUI's own", "plain", "dropped rows", "Block Cache", "all together"
COLUMNS = (HOST, PLAIN, DROPPED, CACHE, ALL)
STEP, FOUR = "step", "4 regions"
STEPS = 20
LAYERS_SIDE = 4096
Group = dict[tuple[str, str], Callable]


def unchanged(query, context, value, options):
    """An attention patch that changes nothing; where there is one, rows without a reference are computed as well."""
    return query, context, value


WITHOUT_SAVING = {"patches": {"attn2_patch": [unchanged]}}


def steps(models, pixels: int, batch: int, *, quick: bool) -> Group:
    """A guided step, at `pixels` squared: what each saving makes of it, also with the features that act inside it."""
    ours, plain = (patcher.model for patcher in models)
    latent = torch.randn(1, 4, pixels // 8, pixels // 8)
    injection = {INJECTION: Injection(latent, None, 0.5, 0.0, 0.0)}
    cases = {
        STEP: (random_tokens(), {}),
        "1 region": (with_regions(1, pixels), {}),
        "2 regions": (with_regions(2, pixels), {}),
        FOUR: (with_regions(4, pixels), {}),
        "figure and background": (with_figure(pixels), {}),
        "Reference Injection": (random_tokens(), injection),
    }
    group = {(STEP, HOST): published.host_step(plain, pixels, 2 * batch)}
    if quick:
        return group | {
            (row, DROPPED): published.step(ours, cases[row][0], pixels, batch, **cases[row][1]) for row in (STEP, FOUR)
        }
    for row, (tokens, more) in cases.items():
        if row == FOUR:  # as Conditioning (Set Mask) does it: five rows with a reference
            group[row, HOST] = published.host_step(plain, pixels, 6 * batch)
        group[row, PLAIN] = published.step(ours, tokens, pixels, batch, WITHOUT_SAVING, **more)
        group[row, DROPPED] = published.step(ours, tokens, pixels, batch, **more)
        group[row, CACHE] = published.between(ours, tokens, pixels, batch, WITHOUT_SAVING, **more)
        group[row, ALL] = published.between(ours, tokens, pixels, batch, **more)
    return group


def pictures(models, pixels: int, batch: int) -> Group:
    """A whole guided run of 20 steps through the samplers, without the VAE."""
    ours, host = models
    tokens, sketch = random_tokens(), random_sketch(pixels)
    latent = {"samples": torch.zeros(batch, 4, pixels // 8, pixels // 8)}
    without = ours.clone()
    without.set_model_attn2_patch(unchanged)
    run = partial(colorize, tokens=tokens, sketch=sketch, latent=latent, steps=STEPS)
    row = f"{STEPS} steps, Block Cache at 2"
    group = {
        (row, HOST): partial(published.host_picture, host, latent, STEPS),
        (row, PLAIN): partial(run, without),
        (row, DROPPED): partial(run, ours),
    }
    for interval in (2, 3):
        row = f"{STEPS} steps, Block Cache at {interval}"
        for column, model in ((CACHE, without), (ALL, ours)):
            group[row, column] = partial(run, with_block_cache(model, interval, 0.1, 1.0))
    return group


def encoders(models, pixels: int) -> Group:
    """What is made once for a run or a reference: the sketch's maps, the tokens of a picture by a CLIP ViT-H, and the
    picture itself."""
    latent = torch.randn(1, 4, pixels // 8, pixels // 8).to(comfy.model_management.get_torch_device(), published.DTYPE)
    decoders = published.decoders()
    reference, clip = torch.rand(1, 512, 512, 3), published.clip_vision()
    conditions = partial(published.conditions, models[0].model, random_tokens(), pixels)
    return {
        ("sketch encoding, for both rows", PLAIN): conditions,
        ("reference encoding", PLAIN): partial(encode_reference, clip, reference),
        **{(f"decoding, {name}", PLAIN): partial(network.decode, latent) for name, network in decoders.items()},
    }


def text_edits() -> Group:
    """What a text node does for one reference apart from encoding the text."""
    tokens = random_tokens()
    target, anchor, control = F.normalize(torch.randn(3, published.WIDTH), dim=1)
    local = partial(manipulation.local_edit, tokens.cls, tokens.local, target, anchor, control)
    whole = partial(manipulation.manipulate_global, tokens.cls, target, anchor)
    return {
        ("text edit, global", PLAIN): partial(whole, enhance=True),
        ("text edit, local", PLAIN): partial(local, enhance=True, thresholds=None),
    }


def layer_nodes() -> Group:
    return {(name, PLAIN): run for name, run in layers.nodes(LAYERS_SIDE).items()}


def loading(folder: Path) -> Group:
    """A file of the published size, which is written into the folder once: our loader, and ComfyUI's on the same."""
    import comfy.sd

    from colorize_core.host.load import load_checkpoint

    from .published_size import CONFIGS, write

    path = folder / "v1-published-size.safetensors"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write(path, CONFIGS["v1"])
    row = f"loading {path.stat().st_size / 1e9:.2f} GB"
    return {
        (row, HOST): partial(comfy.sd.load_checkpoint_guess_config, str(path), output_clip=False),
        (row, PLAIN): partial(load_checkpoint, str(path)),
    }


IMPORT = """
import asyncio, sys, time
from comfy.cli_args import args
args.cpu, args.base_directory = True, sys.argv[2]
import nodes, psutil
asyncio.run(nodes.init_extra_nodes(init_custom_nodes=False, init_api_nodes=False))
before, start = psutil.Process().memory_info().rss, time.process_time()
asyncio.run(nodes.load_custom_node(sys.argv[1]))
print(time.process_time() - start, psutil.Process().memory_info().rss - before)
"""


def import_pack() -> tuple[float, int]:
    """Seconds and bytes that the pack adds to a fresh ComfyUI, behind its own nodes, as it starts."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", IMPORT, str(ROOT), folder]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=COMFYUI)
    seconds, memory = done.stdout.split()[-2:]
    return float(seconds), int(memory)

"""A real ComfyUI server in a process of its own, with the pack as the registry ships it, the demo and tiny models, once
for all tests."""

import copy
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import save_file
from weights import state_dict

from colorize_batch.client import Server
from colorize_batch.workflow import prompt_of_saved
from dev import PACK_NAME, comfyui_command, install_demo
from tests.archive import write_archive

ROOT = Path(__file__).parents[2]
PICTURE_FILES = ("small-drawing.png", "small-reference.png")

# A workflow's own values for these inputs give way to tiny models and the least work.
TINY = {
    "clip_name": "tiny-clip.safetensors",
    "width": 64,
    "height": 64,
    "steps": 2,
    "lora_name": "tiny-lora.safetensors",
}
# The tiny model of the same version as a template's own; v1's for all others.
TINY_CHECKPOINTS = {
    "switch-eps.safetensors": "tiny-v15-eps.safetensors",
    "v2-full.safetensors": "tiny-v2.safetensors",
    "": "sdxl-tiny.safetensors",
}
# What the templates leave to the user, by the title of the node that loads it.
CHOSEN = {
    "Drawing": "small-drawing.png",
    "Drawing of both": "small-drawing.png",
    "Second drawing": "small-drawing.png",
}

CHROMIUMS = (
    *("chromium", "chromium-browser", "google-chrome"),
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
)
FLAGS = [
    "--no-sandbox",  # Chromium refuses to run as root with it, and only ever sees the server of these tests
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
READY_MILLISECONDS = 120_000
READY = "() => window.app?.graph && window.LiteGraph?.registered_node_types.ColorizeDiffusion_Sampler"


@pytest.fixture(scope="session")
def base(tmp_path_factory, golden_state_dict, golden_config_metadata, tiny_vae_state_dict, golden_clip) -> Path:
    """A folder for ComfyUI to start in: the installed pack, the demo, tiny models and two pictures."""
    base = tmp_path_factory.mktemp("server")
    install_pack(base)
    install_demo(base)
    checkpoints, clip_vision = base / "models" / "checkpoints", base / "models" / "clip_vision"
    unet_only = {key: value for key, value in golden_state_dict.items() if not key.startswith("control_encoder.")}
    save_file(golden_state_dict | tiny_vae_state_dict, checkpoints / "tiny-eps.safetensors", golden_config_metadata)
    save_file(golden_state_dict, checkpoints / "no-vae.safetensors", golden_config_metadata)
    save_file(unet_only, checkpoints / "plain-sd.safetensors")
    for name, file in ("tiny_v15", "tiny-v15-eps.safetensors"), ("tiny_v2", "tiny-v2.safetensors"):
        weights = state_dict(ROOT / "tests" / "golden" / f"{name}.json")
        save_file(weights | tiny_vae_state_dict, checkpoints / file)  # heads as wide as their half is
    save_file(tiny_xl() | tiny_vae_state_dict, checkpoints / "sdxl-tiny.safetensors")
    shutil.copy(golden_clip, clip_vision)
    (base / "models" / "loras").mkdir()
    save_file(tiny_lora(), base / "models" / "loras" / "tiny-lora.safetensors")
    draw_pictures(base / "input")
    return base


def install_pack(base: Path) -> None:
    """Unpacks the registry's archive as a custom node pack. Without git there is none: dev.py links the checkout."""
    if shutil.which("git") and (ROOT / ".git").exists():
        write_archive(base / "pack.zip")
        shutil.unpack_archive(base / "pack.zip", base / "custom_nodes" / PACK_NAME)


@pytest.fixture(scope="session")
def server(base):
    with Server(comfyui_command(base, "--preview-method", "latent2rgb"), base) as running:
        yield running


def tiny_xl() -> dict[str, torch.Tensor]:
    """The weights of a small XL model, its tagger among them; the v1 model's CLIP is as wide as its own."""
    golden = ROOT / "tests" / "golden" / "tiny_xl.json"
    config = json.loads(golden.read_text())["config"]
    heads = torch.tensor([config["hd"], config["sketch_dim_head"], config["proj_dim_head"]])
    weights = {key: value for key, value in state_dict(golden).items() if not key.startswith("clip.")}
    return weights | {"colorize_head_channels": heads}


def tiny_lora() -> dict[str, torch.Tensor]:
    """A LoRA for one layer of the tiny model."""
    name = "lora_unet_input_blocks_1_1_transformer_blocks_0_attn2_to_q.lora_{}.weight"
    return {name.format("down"): torch.full((4, 32), 0.1), name.format("up"): torch.full((32, 4), 0.1)}


def draw_pictures(folder: Path) -> None:
    """A drawing of 90x64 pixels and a colored picture of 64x64."""
    sketch, reference = Image.new("RGB", (90, 64), "white"), Image.new("RGB", (64, 64), "navy")
    ImageDraw.Draw(sketch).ellipse((20, 10, 60, 50), outline="black")
    ImageDraw.Draw(reference).ellipse((20, 10, 60, 50), fill="orange")
    for picture, name in zip((sketch, reference), PICTURE_FILES, strict=True):
        picture.save(folder / name)


@pytest.fixture(scope="session")
def object_info(server) -> dict:
    """ComfyUI's description of every node."""
    return server.request("/object_info")


@pytest.fixture(scope="session")
def workflows() -> dict[str, Path]:
    """The templates by their titles."""
    return {path.stem: path for path in (ROOT / "workflows").glob("*.json")}


@pytest.fixture(scope="session")
def shrink():
    """`shrink(prompt)`: the same prompt with tiny models and little to do."""

    def make(prompt: dict) -> dict:
        small = copy.deepcopy(prompt)
        for node in small.values():
            node["inputs"] |= {key: value for key, value in TINY.items() if key in node["inputs"]}
            if "ckpt_name" in node["inputs"]:
                checkpoint = TINY_CHECKPOINTS.get(node["inputs"]["ckpt_name"], "tiny-eps.safetensors")
                node["inputs"]["ckpt_name"] = checkpoint
            if "tagger_name" in node["inputs"]:
                node["inputs"]["tagger_name"] = TINY_CHECKPOINTS[""]
            if node["inputs"].get("image") == "":
                node["inputs"]["image"] = CHOSEN.get(node["_meta"]["title"], "small-reference.png")
        return small

    return make


@pytest.fixture
def tiny_prompt(object_info, shrink):
    """`tiny_prompt(path)`: the prompt of the workflow in that file, shrunk."""
    return lambda path: shrink(prompt_of_saved(json.loads(path.read_text()), object_info))


@pytest.fixture(scope="module")
def chromium() -> str:
    """The Chromium of this machine; without one the tests are skipped, but for CI, which must have one."""
    if path := next(filter(None, map(shutil.which, CHROMIUMS)), None):
        return path
    reason = "no Chromium on this machine (install one to run this test)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def browser(chromium):
    """A Chromium, for the tests of one file."""
    # While its synchronous side is open there is an event loop in this thread: no other test may be run within.
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def page(browser, server):
    """A page with ComfyUI's interface, as it is for who has been there before: no dialog lies over the graph."""
    server.request("/settings", {"Comfy.TutorialCompleted": True})
    page = browser.new_page(viewport={"width": 1800, "height": 1000})
    page.goto(server.url)
    page.wait_for_function(READY, timeout=READY_MILLISECONDS)
    return page

"""The published v1 size with random weights: our model and ComfyUI's own UNet of that shape, and what a run takes.

ComfyUI reads its settings when it is imported, so this is imported before it.
"""

from functools import partial
from pathlib import Path

import torch
from comfy.cli_args import args

from .meter import ON_GPU

args.cpu = not ON_GPU
args.use_pytorch_cross_attention = True

import comfy.clip_vision
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.samplers
from comfy.ldm.models.autoencoder import AutoencoderKL
from comfy.taesd.taesd import TAESD

from colorize_core.figure import Figure
from colorize_core.host.block_cache import BLOCK_CACHE, RunCache
from colorize_core.host.conditions import build_conditioning
from colorize_core.host.model import ColorizeModel
from colorize_core.host.versions import host_config
from colorize_core.sketch import Sketch
from colorize_core.tokens import ReferenceTokens, Region
from colorize_core.versions.v1 import v1_config

from .published_size import VAE

WIDTH, TOKENS = v1_config().unet.context_dim, 256
DTYPE = torch.float16 if ON_GPU else torch.float32
CLIP_CONFIG = Path(comfy.clip_vision.__file__).with_name("clip_vision_config_h.json")


def build(model_class, channels: int):
    config = host_config(v1_config(model_channels=channels))
    config.set_inference_dtype(DTYPE, None)
    return model_class(config, comfy.model_base.ModelType.EPS, device=comfy.model_management.get_torch_device())


def randomize(module: torch.nn.Module) -> None:
    """Weights as a fresh model has them: each layer keeps the size of what goes through it."""
    for parameter in module.parameters():
        if parameter.ndim < 2:
            parameter.fill_(0.5)
        else:
            parameter.normal_(std=parameter[0].numel() ** -0.5)


def both_models(channels: int):
    """Our MODEL and one of ComfyUI's own UNet, which share their weights; `channels` of the first level."""
    ours, plain = build(ColorizeModel, channels), build(comfy.model_base.BaseModel, channels)
    randomize(ours)
    plain.diffusion_model.load_state_dict(ours.diffusion_model.state_dict(), strict=False, assign=True)
    device = comfy.model_management.get_torch_device()
    return tuple(comfy.model_patcher.ModelPatcher(model.to(device), device, device) for model in (ours, plain))


def clip_vision():
    """A CLIP ViT-H, as the host's CLIP_VISION."""
    made = comfy.clip_vision.ClipVisionModel(str(CLIP_CONFIG))
    randomize(made.model)
    return made


def decoders() -> dict[str, torch.nn.Module]:
    """The VAE's decoder and TAESD's, which decode a latent [B,4,h,w]."""
    device, made = comfy.model_management.get_torch_device(), {"VAE": AutoencoderKL(ddconfig=VAE, embed_dim=4)}
    made |= {"TAESD": TAESD(latent_channels=4)}
    for network in made.values():
        randomize(network.to(device, DTYPE))
    return made


def random_tokens(count: int = 1, **more) -> ReferenceTokens:
    return ReferenceTokens(torch.randn(count, 1, WIDTH), torch.randn(count, TOKENS, WIDTH), **more)


def with_regions(count: int, pixels: int) -> ReferenceTokens:
    return random_tokens(regions=tuple(Region(random_tokens(), torch.rand(1, pixels, pixels)) for _ in range(count)))


def with_figure(pixels: int) -> ReferenceTokens:
    mask = torch.zeros(1, pixels, pixels)
    mask[..., pixels // 4 : 3 * pixels // 4] = 1
    background = random_tokens()
    return random_tokens(
        figure=Figure(sketch_mask=mask, background_cls=background.cls, background_local=background.local)
    )


def random_sketch(pixels: int) -> Sketch:
    return Sketch((torch.rand(1, 3, pixels, pixels) > 0.95).float() * 2 - 1)


def conditions(model, tokens: ReferenceTokens, pixels: int, **more) -> list[dict]:
    """What a run makes once of the conditionings with everything and without the reference."""
    device = comfy.model_management.get_torch_device()
    noise = torch.zeros(1, 4, pixels // 8, pixels // 8, device=device)
    positive, no_reference, _ = build_conditioning(tokens, random_sketch(pixels))
    return [
        model.extra_conds(noise=noise, device=device, cross_attn=main, **values, **more)
        for ((main, values),) in (positive, no_reference)
    ]


def step(model, tokens: ReferenceTokens, pixels: int, batch: int, options: dict | None = None, **more):
    """A function that computes a step: `batch` rows with everything, and as many without the reference."""
    rows = [
        {name: cond.process_cond(batch_size=batch, area=None) for name, cond in conds.items()}
        for conds in conditions(model, tokens, pixels, **more)
    ]
    keywords = {name: cond.concat([rows[1][name]]) for name, cond in rows[0].items()}
    context = keywords.pop("c_crossattn")
    device = comfy.model_management.get_torch_device()
    x = torch.randn(2 * batch, 4, pixels // 8, pixels // 8, device=device)
    sigma = torch.full((2 * batch,), 5.0, device=device)
    return partial(model.apply_model, x, sigma, c_crossattn=context, transformer_options=options or {}, **keywords)


def between(model, tokens: ReferenceTokens, pixels: int, batch: int, options: dict | None = None, **more):
    """A function that computes a step between two full ones of Block Cache."""
    cache = RunCache(2, 0.0, 1.0, 20)
    cached = step(model, tokens, pixels, batch, {**(options or {}), BLOCK_CACHE: cache, "uuids": []}, **more)
    cache.begin_evaluation()
    cached()  # the full step whose results the others use

    def shallow():
        cache.is_full, cache.passes = False, 0
        return cached()

    return shallow


def host_step(model, pixels: int, rows: int):
    """A function that computes a step of ComfyUI's own UNet."""
    device = comfy.model_management.get_torch_device()
    x = torch.randn(rows, 4, pixels // 8, pixels // 8, device=device)
    context = torch.randn(rows, TOKENS, WIDTH, device=device)
    return partial(model.apply_model, x, torch.full((rows,), 5.0, device=device), c_crossattn=context)


def host_picture(patcher, latent: dict, steps: int, **settings):
    """A guided run of ComfyUI's own UNet, with the sampler and the schedule of Colorize."""
    guider = comfy.samplers.CFGGuider(patcher)
    tokens = random_tokens().local
    guider.set_conds([[tokens, {}]], [[torch.zeros_like(tokens), {}]])
    guider.set_cfg(4.0)
    sigmas = comfy.samplers.calculate_sigmas(patcher.get_model_object("model_sampling"), "karras", steps)
    noise = torch.randn_like(latent["samples"])
    return guider.sample(noise, latent["samples"], comfy.samplers.sampler_object("dpmpp_2m"), sigmas, seed=0)

"""A denoising step of ColorizeDiffusion against one of ComfyUI's own UNet of the same shape: `python dev.py bench`.

Both have the published size and share their (random) weights. One step is a conditional and an unconditional row at
512x512 pixels. The two take turns, so that whatever else the machine does disturbs both alike; medians are compared.
"""

import statistics
import time

import torch
from comfy.cli_args import args

args.cpu = not torch.accelerator.is_available()
args.use_pytorch_cross_attention = True

import comfy.model_base
import comfy.model_management

from colorize_core.host.model import ColorizeModel
from colorize_core.host.versions import host_config
from colorize_core.versions.v1 import v1_config

TURNS, WARM_UP = (5, 1) if args.cpu else (100, 20)
ROWS, LATENT, TOKENS = 2, 64, 256

PUBLISHED = v1_config()


def build(model_class, device, dtype):
    config = host_config(PUBLISHED)
    config.set_inference_dtype(dtype, None)
    return model_class(config, comfy.model_base.ModelType.EPS, device=device)


def randomize(module):
    """Weights as a fresh model has them: each layer keeps the size of what goes through it."""
    for parameter in module.parameters():
        if parameter.ndim == 1:
            parameter.fill_(0.5)
        else:
            parameter.normal_(std=parameter[0].numel() ** -0.5)


def seconds(run) -> float:
    start = time.perf_counter()
    run()
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return time.perf_counter() - start


@torch.inference_mode()
def main():
    device = comfy.model_management.get_torch_device()
    dtype = torch.float32 if args.cpu else torch.float16
    ours, plain = build(ColorizeModel, device, dtype), build(comfy.model_base.BaseModel, device, dtype)
    randomize(ours)
    plain.diffusion_model.load_state_dict(ours.diffusion_model.state_dict(), strict=False, assign=True)
    plain.to(device)

    x = torch.randn(ROWS, 4, LATENT, LATENT, device=device)
    sigma = torch.full((ROWS,), 5.0, device=device)
    tokens = torch.randn(ROWS, TOKENS, PUBLISHED.unet.context_dim, device=device)
    sketch = torch.rand(1, 3, 8 * LATENT, 8 * LATENT, device=device) * 2 - 1
    conds = ours.extra_conds(noise=x, device=device, cross_attn=tokens, colorize_sketch=sketch)
    extra = {name: cond.process_cond(batch_size=ROWS, area=None).cond for name, cond in conds.items()}
    tokens = extra.pop("c_crossattn")

    def our_step():
        ours.apply_model(x, sigma, c_crossattn=tokens, **extra)

    def plain_step():
        plain.apply_model(x, sigma, c_crossattn=tokens)

    times = {our_step: [], plain_step: []}
    for turn in range(WARM_UP + TURNS):
        for run, measured in times.items():
            taken = seconds(run)
            if turn >= WARM_UP:
                measured.append(taken)
    ours_median, plain_median = (statistics.median(measured) for measured in times.values())
    print(f"{device}, {dtype}, {TURNS} steps each")
    print(f"ColorizeDiffusion {ours_median * 1000:8.1f} ms")
    print(f"ComfyUI's UNet    {plain_median * 1000:8.1f} ms")
    print(f"ratio             {ours_median / plain_median:8.3f}")


if __name__ == "__main__":
    main()

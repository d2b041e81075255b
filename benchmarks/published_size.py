"""Files of the published sizes: `python -m benchmarks.published_size FOLDER [v1] [v1.5] [v2] [XL] [XL v2] [SIDE]`.

For each version a checkpoint of random weights is written into FOLDER (once), loaded by the pack's node and by
ComfyUI's own loader in turns, and one step of it timed at 512x512 (v2: 768x768, XL: 1024x1024) pixels, or those of
SIDE, with a conditional and an unconditional row: by ComfyUI's own UNet of the same shape and weights, without a
figure, and with figure and background kept apart (v2: and with style). `--turns N` is how often each is measured, and
0 leaves the steps out. On a CPU times are those of all cores together, and memory is the largest that the process ever
had, with the parts of the file that it has read. The sizes are those of the published files, whose VAE must then be in
half precision; XL's sizes nobody has told: all in half precision.
"""

import argparse
import gc
import resource
import statistics
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from comfy.cli_args import args

args.cpu = not torch.accelerator.is_available()
args.use_pytorch_cross_attention = True

import comfy.model_base
import comfy.ops
import comfy.sd
from comfy.ldm.models.autoencoder import AutoencoderKL
from safetensors.torch import save_file

from colorize_core.checkpoint.keys import VAE_PREFIX
from colorize_core.checkpoint.writing import file_contents
from colorize_core.figure import Figure
from colorize_core.host.conditions import build_conditioning
from colorize_core.host.load import load_checkpoint, weight_shapes
from colorize_core.host.versions import host_config
from colorize_core.sketch import Sketch
from colorize_core.tokens import ReferenceTokens
from colorize_core.versions import v1, v1_5, v2, xl

CONFIGS = {
    "v1": v1.v1_config(),
    "v1.5": v1_5.ConfigV15(**vars(replace(v1.v1_config(), version=v1_5.VERSION))),
    "v2": replace(v1.v1_config(prediction="v"), version=v2.VERSION),
    "XL": xl.published_xl(),
    "XL v2": xl.published_xl(xl.ADAPTED_VERSION),
}
VAE = {
    "double_z": True,
    "z_channels": 4,
    "resolution": 256,
    "in_channels": 3,
    "out_ch": 3,
    "ch": 128,
    "ch_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "attn_resolutions": [],
    "dropout": 0.0,
}
WARM_UP, LOADINGS, TURNS = 2, 6, 3 if args.cpu else 10
TOKENS, TAGGER_TOKENS = 256, 196
HOST, PLAIN = "ComfyUI's UNet", "plain"
STEPS = {PLAIN: {}, "figure": {"background_enhance": True}}
STYLE = {"background_enhance": False, "style_enhance": True}


def random_weights(network, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """As a fresh model has them: each layer keeps the size of what goes through it."""
    weights = {}
    for key, shape in weight_shapes(network).items():
        if len(shape) == 1:
            weights[key] = torch.full(shape, 0.5, dtype=dtype)
        else:
            weights[key] = torch.randn(shape, dtype=dtype) * torch.Size(shape[1:]).numel() ** -0.5
    return weights


def write(path: Path, config) -> None:
    host = host_config(config)
    unet = host.unet_class(**host.unet_config, config=config, device="meta", operations=comfy.ops.disable_weight_init)
    with torch.device("meta"):
        vae = AutoencoderKL(ddconfig=VAE, embed_dim=4)
    vae_weights = {VAE_PREFIX + key: value for key, value in random_weights(vae, torch.float16).items()}
    dtype = torch.float16 if config.version.name.startswith("XL") else torch.float32
    weights, metadata = file_contents(config, random_weights(unet, dtype), vae_weights)
    save_file(weights, path, metadata)


def seconds(run) -> float:
    clock = time.process_time if args.cpu else time.perf_counter  # of all cores together, whatever else they do
    start = clock()
    run()
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return clock() - start


def time_loading(path: Path) -> None:
    """Both loaders on the same file, first one and then the other first; twice each to warm up, since the system may
    still be writing the file, and holds its pages for both by then."""
    loaders = {
        "our loader": lambda: load_checkpoint(str(path)),
        "stock loader": lambda: comfy.sd.load_checkpoint_guess_config(str(path), output_clip=False),
    }
    times = {name: [] for name in loaders}
    for turn in range(WARM_UP + LOADINGS):
        for name in sorted(loaders, reverse=turn % 2):
            gc.collect()  # the model before: two would not fit into the memory of many machines
            taken = seconds(loaders[name])
            if turn >= WARM_UP:
                times[name].append(taken)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    print("  " + ", ".join(f"{name} {median:.2f} s" for name, median in medians.items()), end="")
    print(f": ratio {medians['our loader'] / medians['stock loader']:.2f}")


def conditions(model, side: int, options: dict) -> tuple[dict, torch.Tensor]:
    """The keywords of a pass over a conditional and an unconditional row, and its latent."""
    config, latent = model.model.config, torch.randn(1, 4, side // 8, side // 8)
    local, tagger = torch.randn(1, TOKENS, getattr(config, "clip_width", config.unet.context_dim)), None
    if config.version.name.startswith("XL"):
        tagger = torch.randn(1, TAGGER_TOKENS, config.tagger_width)
    mask = torch.zeros(1, side, side)
    mask[..., side // 4 : 3 * side // 4] = 1
    shared = {"background_cls": local[:, :1], "background_local": local.flip(1), "background_tagger": tagger}
    shared |= {"background_size": (side, side), "reference_size": (side, side), "picture_mask": 0 * latent[:, :1]}
    figure = Figure(**options, sketch_mask=mask, background_latent=latent, reference_latent=latent, **shared)
    tokens = ReferenceTokens(local[:, :1], local, tagger, figure=figure if options else None)
    (positive,), (negative,), _ = build_conditioning(tokens, Sketch(torch.rand(1, 3, side, side) * 2 - 1))
    rows = []
    for local, values in (positive, negative):
        device = model.load_device
        conds = model.model.extra_conds(noise=latent.to(device), device=device, cross_attn=local, **values)
        rows.append({name: cond.process_cond(batch_size=1, area=None) for name, cond in conds.items()})
    joined = {name: cond.concat([rows[1][name]]) for name, cond in rows[0].items()}
    return joined, latent.to(device).repeat(2, 1, 1, 1)


def hosts_model(ours) -> comfy.model_base.BaseModel:
    """ComfyUI's own model, whose UNet has the shape of that of `ours` and the same weights, not a copy of them."""
    model = comfy.model_base.BaseModel(ours.model_config, ours.model_type, device="meta")
    model.diffusion_model.load_state_dict(ours.diffusion_model.state_dict(), strict=False, assign=True)
    return model


@torch.inference_mode()
def time_steps(path: Path, version: str, side: int | None, turns: int) -> None:
    model, _ = load_checkpoint(str(path))
    side = side or model.model.config.version.side
    comfy.model_management.load_models_gpu([model])
    cases = STEPS | ({"style": STYLE, "figure and style": STYLE | STEPS["figure"]} if version == "v2" else {})
    steps, times = {}, {name: [] for name in (HOST, *cases)}
    for name, options in cases.items():
        made = []
        taken = seconds(lambda: made.append(conditions(model, side, options)))  # noqa: B023 (run at once)
        ((keywords, latent),) = made
        print(f"  {name}: made once for a run in {taken:.2f} s", flush=True)
        sigma = torch.full((2,), 5.0, device=latent.device)
        steps[name] = partial(model.model.apply_model, latent, sigma, **keywords)
        if name == PLAIN:
            vector = model.model.config.unet.adm_in_channels
            own = {"c_crossattn": torch.randn_like(keywords["c_crossattn"])}
            if vector:
                own["y"] = torch.randn(2, vector, device=latent.device)
            steps[HOST] = partial(hosts_model(model.model).apply_model, latent, sigma, **own)
    steps[HOST]()  # touches the weights for the first time
    for _ in range(turns):  # in turns, so that whatever else the machine does disturbs all alike
        for name, step in steps.items():
            times[name].append(seconds(step))
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    for name, median in medians.items():
        print(f"  {name}: a step of {side} pixels {median:.2f} s, {median / medians[HOST]:.3f} times ComfyUI's UNet")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("words", nargs="*", metavar="version or side", help=f"of {', '.join(CONFIGS)}; pixels")
    parser.add_argument("--turns", type=int, default=TURNS)
    return parser.parse_args()


def main():
    chosen = arguments()
    side = next((int(word) for word in chosen.words if word.isdigit()), None)
    for version in [word for word in chosen.words if word in CONFIGS] or CONFIGS:
        path = chosen.folder / f"{version}-published-size.safetensors"
        if not path.exists():
            write(path, CONFIGS[version])
        print(f"{version}: {path.stat().st_size / 1e9:.2f} GB")
        time_loading(path)
        if chosen.turns:
            time_steps(path, version, side, chosen.turns)
        print(f"  largest memory so far {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")


if __name__ == "__main__":
    main()

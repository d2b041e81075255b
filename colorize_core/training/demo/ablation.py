"""The ablation in miniature: what each strategy does against the distribution problem, in numbers.

One base, trained without any reference, learns to draw a picture from its sketch. From it every set-up trains with the
same steps, pictures and draws: they differ in the strategy alone. A picture's reference is a thin-plate-spline warp of
itself (arXiv 2401.01456), so that colors can be copied from the place where they stand in the reference; measured is
with references that show them elsewhere.
"""

import copy
import functools
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn

from ...checkpoint import file_contents
from ...host.clip import encode_reference, load_clip
from ...host.conditions import build_conditioning
from ...host.guider import build_guider, sample
from ...host.load import build_patcher, load_checkpoint
from ...host.trainable import Colorizer, build_unet
from ...networks.sketch_encoder import HINT_DOWNSCALES
from ...sketch import Sketch
from ...tokens import ReferenceTokens
from ..deformation import thin_plate_spline
from ..diffusion import cumulative_alphas
from ..metrics import line_fidelity, region_color_error
from ..strategies import Strategy, colorizer_loss, draw
from ..trainer import Settings, train
from . import ablation_measures as measures
from . import vae
from .clip import GRID, REGION_OF_NOUN
from .colorizer import CONFIG
from .data import images
from .figures import PROP_COLORS, REGIONS, Figure, Palette, Pose, Style, random_palette, random_pose, render

SETUPS = {
    "no strategy": Strategy(),
    "dropping": Strategy(drop_rate=0.75),
    "noisy": Strategy(noisy_rate=1.0),
    "dual-conditioned": Strategy(dual_weight=1.0),
    "noisy + dropping": Strategy(noisy_rate=1.0, drop_rate=0.75),
}
SEEDS = (1, 2)

DATA_SEED, BASE_SEED = 21, 22
PICTURES, WARPS = 2000, 3  # training pictures, and references of each
SIZE, SHOWN = 64, 128  # side of a picture, and of the same one as a reference, in pixels
STYLE = Style(line=3.0, sketch_line=3.0, ink=(24, 18, 28), pencil=0, looseness=0.0, looseness_seed=0)
WARP, CONTROL_POINTS = 0.1, 4
KEPT_TOKENS = 64  # of the 256 local ones, drawn anew each step: cheaper, and an augmentation

BATCH = 32
BASE = Settings(
    steps=500, learning_rate=1.5e-3, warmup_steps=50, schedule="warmup_stable_decay", ema=0.98, save_every=50
)
RUN = replace(BASE, steps=300, warmup_steps=20)

TEST_SEED, TESTS = 23, 48
LOSS_DRAWS = 8  # of the losses on unseen pictures, for each of them
STEPS, GUIDANCES = 10, (1.0, 3.0)
SHEET_ROWS, HEADING = 6, 20  # pictures, and pixels for the names of the columns


@dataclass(frozen=True)
class Encoded:
    """`latent` [N,4,h,w], `sketch` [N,3,8h,8w] as the sketch encoder sees it, `tokens` [N,W,256,D] of W warps."""

    latent: torch.Tensor
    sketch: torch.Tensor
    tokens: torch.Tensor


class FromHints(nn.Module):
    """A denoiser as `colorizer_loss` calls it, with hints that were computed before in the place of the sketch."""

    def __init__(self, unet: nn.Module):
        super().__init__()
        self.unet = unet

    def forward(self, noisy: torch.Tensor, t: torch.Tensor, tokens: torch.Tensor, packed: torch.Tensor) -> torch.Tensor:
        return self.unet(noisy, t, context=tokens, **unpacked(packed, noisy.shape[-1]))


def packed(hints: list[torch.Tensor]) -> torch.Tensor:
    """Five maps as one tensor [B,1,1,K]."""
    return torch.cat([hint.flatten(1) for hint in hints], 1)[:, None, None]


def unpacked(hints: torch.Tensor, side: int) -> dict[str, torch.Tensor]:
    """The maps of `packed` [B,1,1,K] under the names that the denoiser takes them by, for a latent of this side."""
    widths = [CONFIG.model_channels * multiple for multiple in (1, *CONFIG.channel_mult)]
    sides = [max(1, side // downscale) for downscale in HINT_DOWNSCALES]
    parts = hints.flatten(1).split([width * s * s for width, s in zip(widths, sides, strict=True)], 1)
    return {f"hint_{k}": part.unflatten(1, (-1, s, s)) for k, (part, s) in enumerate(zip(parts, sides, strict=True))}


def figures(number: int) -> tuple[Palette, Pose]:
    rng = np.random.default_rng((DATA_SEED, number))
    return random_palette(rng), random_pose(rng)


def warped(color: np.ndarray, seed: int) -> np.ndarray:
    """uint8 pictures [B,S,S,3], each bent as a thin plate."""
    bent = thin_plate_spline(images(color), WARP, CONTROL_POINTS, torch.Generator().manual_seed(seed))
    return bent.add(1).mul(127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def as_sketch(drawing: np.ndarray) -> torch.Tensor:
    """Black on white [B,S,S] uint8 to white on black [B,3,S,S] in -1..1."""
    return 1 - torch.from_numpy(drawing).float().div(127.5)[:, None].expand(-1, 3, -1, -1)


@functools.cache
def clip_vision(file: Path):
    return load_clip(str(file))[0]


@torch.no_grad()
def reference_tokens(file: Path, color: np.ndarray) -> ReferenceTokens:
    """The tokens of uint8 pictures [B,S,S,3], by the CLIP in `file`, and where they stand."""
    parts = [encode_reference(clip_vision(file), chunk / 255) for chunk in torch.from_numpy(color).split(64)]
    local = torch.cat([part.local for part in parts])
    return ReferenceTokens(torch.cat([part.cls for part in parts]), local + position_code(local.shape[-1]))


def position_code(width: int) -> torch.Tensor:
    """[256,width] of mean square 1, which tells each local token's place.

    The tokens of a large CLIP know their places; those of the demo's do not, so nothing of a layout could leak.
    """
    place = (torch.arange(GRID) + 0.5) / GRID
    angle = torch.pi * place[:, None] * torch.tensor([1.0, 2.0, 4.0, 8.0])
    waves = torch.cat([angle.sin(), angle.cos()], 1)
    y, x = (waves[index] for index in torch.meshgrid(torch.arange(GRID), torch.arange(GRID), indexing="ij"))
    waves = torch.cat([y, x], -1).flatten(0, 1)
    directions = torch.linalg.qr(torch.randn(width, waves.shape[1], generator=torch.Generator().manual_seed(0)))[0]
    code = waves @ directions.T
    return code / code.square().mean().sqrt()


def drawn(poses: list[tuple[Palette, Pose]], size: int) -> list[Figure]:
    return [render(palette, pose, STYLE, size) for palette, pose in poses]


def encoded(folder: Path, clip: Path) -> Encoded:
    """The training pictures, kept in `folder` for the next time."""
    path = folder / "encoded.pt"
    if not path.exists():
        poses = [figures(number) for number in range(PICTURES)]
        small = drawn(poses, SIZE)
        shown = np.stack([figure.color for figure in drawn(poses, SHOWN)])
        tokens = torch.stack([reference_tokens(clip, warped(shown, seed)).local.half() for seed in range(WARPS)], 1)
        latent = vae.prescribed_latent(images(np.stack([figure.color for figure in small])))
        sketch = torch.from_numpy(np.stack([figure.sketch for figure in small]))
        save_whole({"latent": latent, "sketch": sketch, "tokens": tokens}, path)
    data = torch.load(path, weights_only=True)
    return Encoded(data["latent"], as_sketch(data["sketch"].numpy()), data["tokens"])


def save_whole(state: dict, path: Path) -> None:
    """A file that is there whole or not at all, wherever the run is killed."""
    unfinished = path.with_suffix(".unfinished")
    torch.save(state, unfinished)
    os.replace(unfinished, path)


def batches(data: Encoded, hints: torch.Tensor, seed: int, start: int) -> Iterator[dict[str, torch.Tensor]]:
    """Batches from step `start` on, each a function of seed and step; `hints` [N,...] is what tells the shapes."""
    step = start
    while True:
        rng = np.random.default_rng((seed, step))
        picks, warps = rng.integers(len(data.latent), size=BATCH), rng.integers(WARPS, size=BATCH)
        kept = rng.permutation(data.tokens.shape[2])[:KEPT_TOKENS]
        yield {
            "latent": data.latent[picks],
            "sketch": hints[picks],
            "tokens": data.tokens[picks, warps][:, kept].float(),
            "seeds": (seed << 32) + step * BATCH + torch.arange(BATCH),
        }
        step += 1


def loss_of(model: nn.Module, batch: dict[str, torch.Tensor], strategy: Strategy) -> torch.Tensor:
    latent, tokens = batch["latent"], batch["tokens"]
    draws = draw(batch["seeds"], latent.shape, tokens.shape, latent.device)
    alphas = cumulative_alphas()
    return colorizer_loss(model, latent, batch["sketch"], tokens, draws, strategy, CONFIG.prediction, alphas)


def trained_base(data: Encoded, folder: Path) -> nn.Module:
    """A denoiser with its sketch encoder that has never had a reference: its cross-attention still adds nothing."""
    torch.manual_seed(BASE_SEED)
    unet = build_unet(CONFIG)
    for name, weight in unet.named_parameters():
        if name.endswith("attn2.to_out.0.weight"):
            nn.init.zeros_(weight)
    # A dropped reference is zeros, and of zeros one token does as many would.
    blind = replace(data, tokens=torch.zeros(1, 1, 1, CONFIG.context_dim).expand(len(data.latent), WARPS, -1, -1))
    settings = replace(BASE, seed=BASE_SEED)
    model = train(
        Colorizer(unet),
        lambda start: batches(blind, blind.sketch, BASE_SEED, start),
        lambda model, batch: loss_of(model, batch, Strategy()),
        settings,
        folder / "base",
    )
    return model.unet


@torch.no_grad()
def hints_of(unet: nn.Module, sketch: torch.Tensor) -> torch.Tensor:
    return torch.cat([packed(unet.control_encoder(chunk)) for chunk in sketch.split(64)])


def trained(base: nn.Module, data: Encoded, hints: torch.Tensor, setup: str, seed: int, folder: Path) -> nn.Module:
    """The base, trained on with a set-up; its sketch encoder stays as it is."""
    unet = copy.deepcopy(base).requires_grad_(True)
    unet.control_encoder.requires_grad_(False)
    model = train(
        FromHints(unet),
        lambda start: batches(data, hints, seed, start),
        lambda model, batch: loss_of(model, batch, SETUPS[setup]),
        replace(RUN, seed=seed),
        folder / f"{setup.replace(' ', '')}-{seed}",
    )
    return model.unet


@dataclass(frozen=True)
class Unseen:
    """Sketches to be colored, and all that is known of them; the figures of a row share a palette.

    `small` are the sketches' own pictures. `references` show another view and something behind the figure, which no
    sketch has; `strangers` were drawn by the same rule and are shown to nobody.
    """

    palettes: list[Palette]
    small: list[Figure]
    matching: np.ndarray
    references: list[Figure]
    strangers: list[Figure]


def unseen() -> Unseen:
    palettes, own, others, strangers = [], [], [], []
    for number in range(TESTS):
        rng = np.random.default_rng((TEST_SEED, number))
        palette, pose = random_palette(rng), replace(random_pose(rng), prop="nothing")
        palettes.append(palette)
        own.append((palette, pose))
        others.append((palette, mismatched(pose, rng)))
        strangers.append((palette, mismatched(pose, rng)))
    shown = np.stack([figure.color for figure in drawn(own, SHOWN)])
    return Unseen(palettes, drawn(own, SIZE), warped(shown, TEST_SEED), drawn(others, SHOWN), drawn(strangers, SHOWN))


def mismatched(pose: Pose, rng: np.random.Generator) -> Pose:
    while True:
        other = random_pose(rng)
        if other.view != pose.view and other.prop != "nothing":
            return other


@torch.no_grad()
def evaluate(unet: nn.Module, tests: Unseen, clip: Path, vae_file: Path) -> tuple[dict, np.ndarray]:
    """All measures of a denoiser as {measure: number}, those of sampling by guidance, and for the sheets the pictures
    [G,R,S,S,3] that it draws after mismatched references at each guidance."""
    model = build_patcher(*file_contents(CONFIG, unet.state_dict(), {}), "the trained model")
    references = np.stack([figure.color for figure in tests.references])
    matching, mismatching = (reference_tokens(clip, color) for color in (tests.matching, references))
    sketch = np.stack([figure.sketch for figure in tests.small])
    lines = 1 - torch.from_numpy(sketch) / 255
    regions = torch.from_numpy(np.stack([figure.regions for figure in tests.small]))
    truth = measures.patch_colors(vae.prescribed_latent(images(np.stack([figure.color for figure in tests.small]))))
    labels = measures.patch_regions(regions, known_regions(tests.references))
    layouts = [as_patches(figures) for figures in (tests.references, tests.strangers)]

    found, shown = losses(unet, tests, matching), []
    for guidance in GUIDANCES:
        after_own, after_other = (colorize(model, t, sketch, guidance) for t in (matching, mismatching))
        own, other = measures.patch_colors(after_own), measures.patch_colors(after_other)
        pictures = decode(vae_file, after_other)
        correct = measures.region_correctness(other, truth, labels, palette_colors(tests.palettes))
        leak, chance = (measures.layout_share(other, truth, layout) for layout in layouts)
        found[f"guidance {guidance:g}"] = {
            "matching: color error": color_error(own, truth, regions),
            "color error": color_error(other, truth, labels.repeat_interleave(8, 1).repeat_interleave(8, 2)),
            "line fidelity": line_fidelity(pictures.movedim(-1, 1), lines).mean().item(),
            "region correctness": float(np.mean(list(correct.values()))),
            "correctness by region": {name: correct[index] for name, index in REGIONS.items() if index in correct},
            "nearer to the reference's layout": leak,
            "nearer to a stranger's layout": chance,
            "leak": leak - chance,
        }
        shown.append(pictures[:SHEET_ROWS].mul(255).round().byte().numpy())
    return found, np.stack(shown)


@torch.no_grad()
def losses(unet: nn.Module, tests: Unseen, matching: ReferenceTokens) -> dict[str, float]:
    """The plain loss on the unseen pictures, with fixed draws: without a reference, and with the matching one."""
    latent = vae.prescribed_latent(images(np.stack([figure.color for figure in tests.small])))
    hints = hints_of(unet, as_sketch(np.stack([figure.sketch for figure in tests.small])))
    model = FromHints(unet)

    def mean_loss(strategy: Strategy) -> float:
        batch = {"latent": latent, "sketch": hints, "tokens": matching.local}
        seeds = [(TEST_SEED << 32) + k * TESTS + torch.arange(TESTS) for k in range(LOSS_DRAWS)]
        return float(np.mean([loss_of(model, batch | {"seeds": row}, strategy).item() for row in seeds]))

    return {
        "loss without reference": mean_loss(Strategy(drop_rate=1.0)),
        "loss with matching reference": mean_loss(Strategy()),
    }


def colorize(model, tokens: ReferenceTokens, sketch: np.ndarray, guidance: float) -> torch.Tensor:
    """Prescribed latents [B,4,h,w] for drawings [B,8h,8w] uint8, black on white, sampled by the host."""
    parts = []
    for seed, chunk in enumerate(torch.arange(len(sketch)).split(16)):
        drawing = Sketch(as_sketch(sketch[chunk]), strength=1.0)
        conditioning = build_conditioning(ReferenceTokens(tokens.cls[chunk], tokens.local[chunk]), drawing)
        guider = build_guider(model, *conditioning, guidance, 1.0)
        empty = {"samples": torch.zeros(len(chunk), 4, SIZE // 8, SIZE // 8)}
        parts.append(sample(guider, empty, seed, STEPS, "dpmpp_2m", "karras", 1.0)["samples"])
    return torch.cat(parts) * vae.SCALE


@functools.cache
def autoencoder(file: Path):
    return load_checkpoint(str(file))[1]


def decode(file: Path, latent: torch.Tensor) -> torch.Tensor:
    """Prescribed latents as pictures [B,H,W,3] in 0..1, by the VAE in `file`."""
    return autoencoder(file).decode(latent / vae.SCALE).float().clamp(0, 1)


def color_error(result: torch.Tensor, truth: torch.Tensor, regions: torch.Tensor) -> float:
    """`region_color_error` of patch colors, each patch as large as in the picture that has these `regions`."""
    pixels = (
        (x / 255).movedim(-1, 1).repeat_interleave(8, -1).repeat_interleave(8, -2).contiguous() for x in (result, truth)
    )
    return region_color_error(*pixels, regions).nanmean().item()


def known_regions(references: list[Figure]) -> torch.Tensor:
    """Which regions can be seen in each reference, [B,R]."""
    rows = [[region in {REGION_OF_NOUN[noun] for noun in f.words} for region in REGIONS] for f in references]
    return torch.tensor(rows)


def palette_colors(palettes: list[Palette]) -> torch.Tensor:
    """[B,R+1,3]: of the regions, and of what stands behind a figure."""
    return torch.tensor([[*p.rgb.values(), PROP_COLORS[p.names["background"]]] for p in palettes]).float()


def as_patches(pictures: list[Figure]) -> torch.Tensor:
    """The patch colors of pictures that are larger than the sketches, at the sketches' size."""
    color = nn.functional.interpolate(images(np.stack([f.color for f in pictures])), size=SIZE, mode="area")
    return measures.patch_colors(vae.prescribed_latent(color))


def run(folder: Path, output: Path, demo: Path) -> None:
    """Trains and measures everything, seed after seed; `output` gets results.json, table.md and sheets.

    Unfinished work lies in `folder`; killed at any moment, it goes on. CLIP and autoencoder are those of `demo`.
    """
    clip, vae_file = demo / "clip-demo.safetensors", demo / "colorize-demo.safetensors"
    folder = folder / hashlib.sha256(clip.read_bytes()).hexdigest()[:8]  # another CLIP's work is not to be gone on with
    folder.mkdir(parents=True, exist_ok=True)
    data = encoded(folder, clip)
    base = trained_base(data, folder)
    hints = hints_of(base, data.sketch)
    tests = unseen()
    results = {}
    for seed in (None, *SEEDS):
        for setup in SETUPS if seed else ["base"]:
            name = setup if seed is None else f"{setup}, seed {seed}"
            path = folder / f"{name.replace(' ', '')}.pt"
            if not path.exists():
                unet = base if seed is None else trained(base, data, hints, setup, seed, folder)
                found, pictures = evaluate(unet, tests, clip, vae_file)
                save_whole({"found": found, "pictures": torch.from_numpy(pictures)}, path)
            results[name] = torch.load(path, weights_only=True)
            report(results, tests, output)


def report(results: dict[str, dict], tests: Unseen, output: Path) -> None:
    """Writes what there is so far: the numbers, the same as tables, and what was drawn after mismatched references."""
    found = {name: result["found"] for name, result in results.items()}
    output.mkdir(parents=True, exist_ok=True)
    (output / "results.json").write_text(json.dumps(found, indent=1) + "\n")
    tables = [table(found, f"guidance {guidance:g}") for guidance in GUIDANCES]
    (output / "table.md").write_text("\n".join(tables))
    drawings = np.stack([np.repeat(f.sketch[..., None], 3, -1) for f in tests.small[:SHEET_ROWS]])
    truths = np.stack([f.color for f in tests.small[:SHEET_ROWS]])
    references = np.stack([f.color for f in tests.references[:SHEET_ROWS]])
    given = {"sketch": drawings, "reference": references, "truth": truths}
    first = [name for name in results if name == "base" or name.endswith(f"seed {SEEDS[0]}")]
    for index, guidance in enumerate(GUIDANCES):
        columns = given | {name: results[name]["pictures"][index].numpy() for name in first}
        sheet(columns).save(output / f"sheet-guidance-{guidance:g}.jpg", quality=80)


COLUMNS = {  # of the tables: heading, which is better, key
    "color error, matching": ("lower", "matching: color error"),
    "color error, mismatched": ("lower", "color error"),
    "line fidelity, mismatched": ("higher", "line fidelity"),
    "region correctness, mismatched": ("higher", "region correctness"),
    "leak of the layout": ("lower", "leak"),
}


def table(found: dict[str, dict], guidance: str) -> str:
    """A table in Markdown: a row for each run, the measures at this guidance and the losses."""
    headings = [f"{heading} ({better} is better)" for heading, (better, _) in COLUMNS.items()]
    losses = ["loss without reference", "loss with matching reference"]
    lines = [f"## Sampled with {guidance}", "", "| " + " | ".join(["", *headings, *losses]) + " |", "|" + " --- |" * 8]
    for name, result in found.items():
        numbers = [f"{result[guidance][key]:.{1 if 'error' in key else 3}f}" for _, key in COLUMNS.values()]
        numbers += [f"{result[loss]:.4f}" for loss in losses]
        lines.append("| " + " | ".join([name, *numbers]) + " |")
    return "\n".join([*lines, ""])


def sheet(columns: dict[str, np.ndarray]) -> Image.Image:
    """Pictures [R,S,S,3] of each column under its name, all at one size."""
    rows = len(next(iter(columns.values())))
    page = Image.new("RGB", (SHOWN * len(columns), SHOWN * rows + HEADING), "white")
    pen = ImageDraw.Draw(page)
    for x, (name, pictures) in enumerate(columns.items()):
        pen.text((x * SHOWN + 4, 4), name, fill="black")
        for y, picture in enumerate(pictures):
            tile = Image.fromarray(picture).resize((SHOWN, SHOWN), Image.Resampling.NEAREST)
            page.paste(tile, (x * SHOWN, HEADING + y * SHOWN))
    return page

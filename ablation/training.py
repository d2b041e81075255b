"""Trains the base and, from it, every set-up: with the same steps, pictures and draws, by another strategy."""

import copy
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from colorize_core.host.trainable import Colorizer, build_unet
from colorize_core.training.diffusion import cumulative_alphas
from colorize_core.training.processes import start_processes
from colorize_core.training.settings import TrainingSettings
from colorize_core.training.strategies import Strategy, colorizer_loss, draw
from colorize_core.training.trainer import train
from demo.colorizer import DEMO_CONFIG

from .data import WARPS, EncodedFigures, figure_batches

SETUPS = {
    "no strategy": Strategy(),
    "dropping": Strategy(drop_rate=0.75),
    "noisy": Strategy(noisy_rate=1.0),
    "dual-conditioned": Strategy(dual_weight=1.0),
    "noisy + dropping": Strategy(noisy_rate=1.0, drop_rate=0.75),
}
SEEDS = (1, 2)
BASE_SEED = 22
BASE = TrainingSettings(
    steps=500, learning_rate=1.5e-3, warmup_steps=50, schedule="warmup_stable_decay", ema=0.98, save_every=50
)
RUN = replace(BASE, steps=300, warmup_steps=20)


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
    widths = [DEMO_CONFIG.unet.model_channels * multiple for multiple in (1, *DEMO_CONFIG.unet.channel_mult)]
    sides = [max(1, side // downscale) for downscale in DEMO_CONFIG.version.hints.downscales]
    parts = hints.flatten(1).split([width * s * s for width, s in zip(widths, sides, strict=True)], 1)
    return {f"hint_{k}": part.unflatten(1, (-1, s, s)) for k, (part, s) in enumerate(zip(parts, sides, strict=True))}


def strategy_loss(model: nn.Module, batch: dict[str, torch.Tensor], strategy: Strategy) -> torch.Tensor:
    latent, tokens = batch["latent"], batch["tokens"]
    draws = draw(batch["seeds"], latent.shape, tokens.shape, latent.device)
    alphas = cumulative_alphas()
    return colorizer_loss(model, latent, batch["sketch"], tokens, draws, strategy, DEMO_CONFIG.prediction, alphas)


def trained_base(data: EncodedFigures, folder: Path) -> nn.Module:
    """A denoiser with its sketch encoder that has never had a reference: its cross-attention still adds nothing."""
    torch.manual_seed(BASE_SEED)
    unet = build_unet(DEMO_CONFIG)
    for name, weight in unet.named_parameters():
        if name.endswith("attn2.to_out.0.weight"):
            nn.init.zeros_(weight)
    # A dropped reference is zeros, and of zeros one token does as many would.
    blind = replace(
        data, tokens=torch.zeros(1, 1, 1, DEMO_CONFIG.unet.context_dim).expand(len(data.latent), WARPS, -1, -1)
    )
    settings = replace(BASE, seed=BASE_SEED)
    model = train(
        start_processes(),
        Colorizer(unet),
        lambda start: figure_batches(blind, blind.sketch, BASE_SEED, start),
        lambda model, batch: strategy_loss(model, batch, Strategy()),
        settings,
        folder / "base",
    )
    return model.unet


@torch.no_grad()
def hints_of(unet: nn.Module, sketch: torch.Tensor) -> torch.Tensor:
    return torch.cat([packed(unet.control_encoder(chunk)) for chunk in sketch.split(64)])


def trained_setup(
    base: nn.Module, data: EncodedFigures, hints: torch.Tensor, setup: str, seed: int, folder: Path
) -> nn.Module:
    """The base, trained on with a set-up; its sketch encoder stays as it is."""
    unet = copy.deepcopy(base).requires_grad_(True)
    unet.control_encoder.requires_grad_(False)
    model = train(
        start_processes(),
        FromHints(unet),
        lambda start: figure_batches(data, hints, seed, start),
        lambda model, batch: strategy_loss(model, batch, SETUPS[setup]),
        replace(RUN, seed=seed),
        folder / f"{setup.replace(' ', '')}-{seed}",
    )
    return model.unet

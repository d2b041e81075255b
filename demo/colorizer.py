"""The demo's colorizer: latent diffusion on figures, its reference the same palette in another pose.

Small pictures first: they cost a quarter, and where to look for which color carries over to large ones.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from colorize_core.manipulation import THRESHOLDS, local_edit, manipulate_global
from colorize_core.training.diffusion import cumulative_alphas
from colorize_core.training.strategies import Strategy, colorizer_loss, draw
from colorize_core.versions.v1 import v1_config

from .clip import PHRASE_INDEX
from .data import DrawnPictures, as_sketch
from .figures import BOTTOM, BOTTOMS
from .mixture import KIND_SHARES, MixedPictures

DEMO_CONFIG = v1_config("v", model_channels=32, channel_mult=(1, 2, 2, 2), context_dim=64, num_head_channels=16)
DEMO_STRATEGY = Strategy(drop_rate=0.15, noisy_rate=0.1, sketch_drop_rate=0.05, offset_noise=0.05)
WHOLE_FIGURES = 6.0  # times as often as other pictures
LITTLE_LEGS = 18.0  # the same where the reference shows less of the legs' color than LITTLE of itself
LITTLE = 0.03
OWN_REFERENCE = 0.1  # how often a picture is its own reference
CLS_BATCHES = 0.15  # the same weights then serve as the CLS model
PLACE_AREA_POWER = 0.75  # of `area_weights`: the colors of skirts and trousers are the last to be learned
REFERENCE_TOKENS = 192  # of the 256 local ones, drawn anew each step: cheaper, and an augmentation
EDITED = 0.35  # how often the reference's tokens are edited with words, and the picture recolored alike
EDIT_SCALES = (6.0, 10.0)  # around LocalText's own


@dataclass(frozen=True)
class EncodedPictures:
    """Pictures as what the colorizer sees of them.

    `latent` [N,4,h,w] scaled, `sketch` [N,8h,8w] uint8 (black on white), `tokens` [N,257,D], `chance` [N];
    `recolored` [N,4,h,w]: the latents with one region in another color, `change` [N,3]: the indices in PHRASES of that
    region, its color and its other color, -1 where a picture does not show it; `phrases` [P,D]: PHRASES' features;
    `weight` [N,1,h,w]: what each place counts.
    """

    latent: np.ndarray
    sketch: np.ndarray
    tokens: np.ndarray
    chance: np.ndarray  # how often each picture is drawn
    recolored: np.ndarray
    change: np.ndarray
    phrases: torch.Tensor
    weight: np.ndarray


def chances(pictures: DrawnPictures | MixedPictures) -> np.ndarray:
    """[N]: whole figures whose reference is one as well are rare, and alone teach where the colors of legs are.

    Hardest are those whose reference shows little of its legs.
    """
    partner = np.arange(len(pictures)) ^ 1
    whole = np.array([bool(words.keys() & BOTTOMS) for words in pictures.words])
    legs = (pictures.regions == BOTTOM).mean(axis=(1, 2))[partner]
    weight = np.where(legs < LITTLE, LITTLE_LEGS, WHOLE_FIGURES)
    weight[~(whole & whole[partner])] = 1.0
    return weight / weight.sum()


def mixed_chances(pictures: MixedPictures) -> np.ndarray:
    """[N]: own figures, in their `chances`, are drawn as often as KIND_SHARES says; all others alike."""
    own = np.array([name == "own" for name in pictures.names])
    chance = np.where(own, chances(pictures), 1.0)
    for kind, share in ((own, KIND_SHARES["own"]), (~own, 1 - KIND_SHARES["own"])):
        if kind.any():
            chance[kind] *= share / chance[kind].sum()
    return chance / chance.sum()


def changes(words: list[dict[str, str]], recolored: list[dict[str, str]]) -> np.ndarray:
    """`EncodedPictures.change` of pictures of these `words`, given those of the same pictures recolored."""
    change = np.full((len(words), 3), -1)
    for row, before, after in zip(change, words, recolored, strict=True):
        for noun in before:
            if after[noun] != before[noun]:
                row[:] = [PHRASE_INDEX[color, noun] for color in (None, before[noun], after[noun])]
    return change


def figures_loss(model: nn.Module, data: EncodedPictures, batch: int, rng: np.random.Generator) -> torch.Tensor:
    """The loss of `DEMO_STRATEGY` on a batch; `model` is a Colorizer."""
    device = next(model.parameters()).device
    picks = rng.choice(len(data.chance), size=batch, p=data.chance)
    partners = np.where(rng.random(batch) < OWN_REFERENCE, picks, picks ^ 1)
    edited = (rng.random(batch) < EDITED) & (data.change[partners, 0] >= 0)
    tokens = torch.from_numpy(data.tokens[partners]).float()
    for row in np.flatnonzero(edited):
        texts = data.phrases[data.change[partners[row]]]
        tokens[row] = edit_tokens(tokens[row], texts, rng)
    local = 1 + rng.permutation(data.tokens.shape[1] - 1)[:REFERENCE_TOKENS]
    chosen = [0] if rng.random() < CLS_BATCHES else local

    latent = np.where(edited[:, None, None, None], data.recolored[picks], data.latent[picks])
    latent, weight = (torch.from_numpy(values).to(device).float() for values in (latent, data.weight[picks]))
    sketch = as_sketch(data.sketch[picks]).to(device)
    tokens = tokens[:, chosen].to(device)
    seeds = torch.from_numpy(rng.integers(1 << 62, size=batch))
    draws = draw(seeds, latent.shape, tokens.shape, device)
    alphas = cumulative_alphas().to(device)
    return colorizer_loss(model, latent, sketch, tokens, draws, DEMO_STRATEGY, DEMO_CONFIG.prediction, alphas, weight)


def edit_tokens(tokens: torch.Tensor, texts: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Tokens [1+N,D] edited as the text nodes do: CLS and local ones, with features `texts` [3,D] as in `change`."""
    control, anchor, target = texts
    cls, local = tokens[None, :1], tokens[None, 1:]
    scale, automatic = rng.uniform(*EDIT_SCALES), rng.random() < 0.5
    changed = manipulate_global(cls, target, anchor, scale, enhance=True)
    thresholds = None if automatic else THRESHOLDS
    edit = local_edit(cls, local, target, anchor, control, scale, enhance=True, thresholds=thresholds)
    return torch.cat([changed, edit.local], dim=1)[0]

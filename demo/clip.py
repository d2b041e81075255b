"""The demo's CLIP: both towers tiny, one space, and tokens that know their region.

A picture's tokens are regressed to a calibrated correlation with each phrase (PRESENT where it holds, 0 where it does
not), besides the contrastive loss on captions. The local tokens need the masks: a tower this small does not learn
regions from captions alone. And since most things have no word, a readout that only training has finds the colors of
a patch in its token.
"""

from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from einops import rearrange
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.model import CLIP
from safetensors.torch import load_file
from torch import nn

from colorize_core.tokens import preprocess

from .data import images
from .mixture import MixedPictures
from .vae import opponent
from .words import MORE_REGIONS, NOUN_COLORS, REGION_OF_NOUN

CLIP_CONFIG = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 224, "patch_size": 14, "width": 96, "layers": 3, "head_width": 32, "mlp_ratio": 4.0},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 3},
}
GRID = 16
CLIP_BATCH = 96
CLIP_TOKENS = 48  # of the 256 local ones, drawn anew each step: cheaper, and an augmentation
PRESENT = 8.0  # the correlation of a token with a phrase that holds
QUARTERS = 2  # along each side of a patch: the colors of so many parts can be read out of its token

PHRASES = [(None, noun) for noun in NOUN_COLORS]
PHRASES += [(color, noun) for noun, colors in NOUN_COLORS.items() for color in colors]
PHRASE_INDEX = {phrase: i for i, phrase in enumerate(PHRASES)}
OPENINGS = ("", "", "a ", "the ", "the girl's ", "girl with ", "a picture of ")
CAPTION_FORMS = (("", ", "), ("a girl with ", ", "), ("a girl with ", " and "))  # how it opens, what joins its parts

tokenize = open_clip.get_tokenizer("ViT-B-32")


def build_clip() -> CLIP:
    model = CLIP(CLIP_CONFIG["embed_dim"], CLIP_CONFIG["vision_cfg"], CLIP_CONFIG["text_cfg"], quick_gelu=False)
    torch.nn.init.constant_(model.logit_scale, 2.3)
    return model


def load_towers(towers: CLIP, path: Path) -> None:
    """Takes the weights of a demo CLIP's file; it has vectors for its own words alone, and other words keep theirs."""
    weights = load_file(path)
    embedding = towers.token_embedding.weight.detach().clone()
    embedding[weights.pop("token_embedding.ids")] = weights["token_embedding.weight"].float()
    towers.load_state_dict(weights | {"token_embedding.weight": embedding})


class ReadableClip(nn.Module):
    """The towers, and the readout that training adds to them: of a local token, its patch's colors."""

    def __init__(self):
        super().__init__()
        self.towers = build_clip()
        self.readout = nn.Linear(CLIP_CONFIG["embed_dim"], 3 * QUARTERS**2)


def text_of(phrase: tuple[str | None, str]) -> str:
    return " ".join(word for word in phrase if word)


def random_caption(words: dict[str, str], rng: np.random.Generator) -> tuple[str, np.ndarray]:
    """A sentence on some of what a picture shows, and which phrases it speaks of [P]; on nothing where no word is."""
    nouns = rng.permutation(list(words))[: rng.integers(min(1, len(words)), len(words) + 1)]
    phrases = [(words[noun], str(noun)) for noun in nouns]
    opening, joint = CAPTION_FORMS[rng.integers(len(CAPTION_FORMS))]
    return opening + joint.join(text_of(p) for p in phrases), phrase_vector(phrases)


def phrase_vector(phrases: list[tuple[str, str]]) -> np.ndarray:
    """Which of PHRASES hold [P], given (adjective, noun) pairs that do; each noun alone holds as well."""
    vector = np.zeros(len(PHRASES), np.float32)
    for adjective, noun in phrases:
        vector[[PHRASE_INDEX[adjective, noun], PHRASE_INDEX[None, noun]]] = 1
    return vector


def region_phrases(words: dict[str, str]) -> np.ndarray:
    """Which phrases hold in each region [R,P]."""
    vectors = np.zeros((len(MORE_REGIONS), len(PHRASES)), np.float32)
    order = list(MORE_REGIONS)
    for noun, adjective in words.items():
        vectors[order.index(REGION_OF_NOUN[noun])] = phrase_vector([(adjective, noun)])
    return vectors


def known_phrases(nouns: list[str]) -> np.ndarray:
    """1 for each phrase [P] on one of `nouns`, 0 for those on what a picture's words would not tell."""
    return np.array([noun in nouns for _, noun in PHRASES], np.float32)


def region_shares(regions: np.ndarray) -> torch.Tensor:
    """How much of each patch belongs to each region: [B,H,W] -> [B,GRID*GRID,R]."""
    masks = torch.from_numpy(np.stack([regions == r for r in MORE_REGIONS.values()], 1).astype(np.float32))
    return rearrange(F.adaptive_avg_pool2d(masks, GRID), "b r h w -> b (h w) r")


def image_tokens(model: CLIP, color: np.ndarray, chosen: torch.Tensor | None = None) -> torch.Tensor:
    """All projected tokens of uint8 pictures [B,H,W,3] -> [B,1+N,D]; only the `chosen` [B,K] local ones if given."""
    visual = model.visual
    image = torch.from_numpy(np.ascontiguousarray(color)).to(visual.proj.device).float().div(255)
    pixels = preprocess(image, CLIP_CONFIG["vision_cfg"]["image_size"], OPENAI_DATASET_MEAN, OPENAI_DATASET_STD)
    patches = rearrange(pixels, "b c (h y) (w x) -> b (h w) (c y x)", h=GRID, w=GRID)
    positions = visual.positional_embedding[1:].expand(len(patches), -1, -1)
    if chosen is not None:
        patches, positions = (x.take_along_dim(chosen[..., None], dim=1) for x in (patches, positions))
    patches = patches @ visual.conv1.weight.flatten(1).T + positions  # the convolution's strides do not overlap
    cls = (visual.class_embedding + visual.positional_embedding[0]).expand(len(patches), 1, -1)
    tokens = visual.transformer(visual.ln_pre(torch.cat([cls, patches], dim=1)))
    return visual.ln_post(tokens) @ visual.proj


def text_features(model: CLIP, texts: list[str], blocks: int) -> torch.Tensor:
    """Normalized features [K,D] after the first `blocks` text blocks; attention is causal, so padding is cut."""
    ids = tokenize(texts).to(model.text_projection.device)
    ids = ids[:, : int(ids.argmax(1).max()) + 1]
    length = ids.shape[1]
    x = model.token_embedding(ids) + model.positional_embedding[:length]
    for block in model.transformer.resblocks[:blocks]:
        x = block(x, attn_mask=model.attn_mask[:length, :length])
    x = model.ln_final(x)[torch.arange(len(ids)), ids.argmax(1)] @ model.text_projection
    return F.normalize(x, dim=-1)


@torch.no_grad()
def phrase_features(model: CLIP) -> torch.Tensor:
    """Of PHRASES, as the text nodes see them by default [P,D]: one block before the last."""
    return text_features(model, [text_of(p) for p in PHRASES], len(model.transformer.resblocks) - 1).cpu()


def vocabulary() -> torch.Tensor:
    """The ids of all tokens that occur in training [K], in order."""
    texts = [opening + text_of(phrase) for opening in OPENINGS for phrase in PHRASES]
    texts += [opening + joint for opening, joint in CAPTION_FORMS]
    return tokenize(texts).unique()


def contrastive_loss(logits: torch.Tensor, matches: torch.Tensor) -> torch.Tensor:
    """Cross-entropy both ways, spread over all that match (several pictures may fit one caption)."""
    losses = [
        -((m * x.log_softmax(-1)).sum(-1) / m.sum(-1)).mean() for x, m in ((logits, matches), (logits.T, matches.T))
    ]
    return sum(losses) / 2


def other_colors() -> torch.Tensor:
    """[P,P]: 1 where two phrases name different colors of the same noun."""
    return torch.tensor([[float(a[1] == b[1] and a[0] != b[0] and None not in (a[0], b[0])) for b in PHRASES]
                         for a in PHRASES])  # fmt: skip


def patch_colors(color: np.ndarray) -> torch.Tensor:
    """Opponent colors of each patch's quarters: uint8 [B,H,W,3] -> [B,GRID*GRID,3*QUARTERS**2]."""
    means = F.adaptive_avg_pool2d(opponent(images(color)), GRID * QUARTERS)
    return rearrange(means, "b c (h y) (w x) -> b (h w) (c y x)", h=GRID, w=GRID)


def clip_loss(
    model: ReadableClip, pictures: MixedPictures, rng: np.random.Generator, batch: int = CLIP_BATCH
) -> torch.Tensor:
    """What is known of a batch: its phrases in the whole and in each patch, its captions, its patches' colors."""
    towers = model.towers
    device = towers.text_projection.device
    picks = rng.integers(len(pictures), size=batch)
    color, regions = pictures.color[picks], pictures.regions[picks]
    if rng.random() < 0.5:
        color, regions = color[:, :, ::-1], regions[:, :, ::-1]
    words = [pictures.words[i] for i in picks]
    captions, spoken = zip(*(random_caption(w, rng) for w in words), strict=True)
    spoken = torch.from_numpy(np.stack(spoken)).to(device)
    present = torch.from_numpy(np.stack([phrase_vector([(a, n) for n, a in w.items()]) for w in words])).to(device)
    by_region = torch.from_numpy(np.stack([region_phrases(w) for w in words])).to(device)
    known = torch.from_numpy(np.stack([known_phrases(pictures.known[i]) for i in picks])).to(device)
    chosen = torch.rand(batch, GRID * GRID, device=device).argsort(1)[:, :CLIP_TOKENS]

    tokens = image_tokens(towers, color, chosen)
    blocks = len(towers.transformer.resblocks) - int(rng.integers(2))  # one block early must work as well
    opening = OPENINGS[rng.integers(len(OPENINGS))]
    texts = text_features(towers, [*captions, *(opening + text_of(p) for p in PHRASES)], blocks)
    captions, phrases = texts[:batch], texts[batch:]

    scale = towers.logit_scale.exp().clamp(max=50)
    matches = ((present @ spoken.T) == spoken.sum(1)).float()
    contrast = contrastive_loss(scale * F.normalize(tokens[:, 0], dim=-1) @ captions.T, matches)

    shares = region_shares(regions).to(device).take_along_dim(chosen[..., None], dim=1)
    target = ((shares / 0.5).clamp(max=1) @ by_region).clamp(max=1)
    off = (tokens[:, 1:] @ phrases.T / PRESENT - target).square() * (1 + 8 * target)
    local = (off * known[:, None]).sum(-1).mean()
    off = (tokens[:, 0] @ phrases.T / PRESENT - present).square() * (1 + 4 * present)
    whole = (off * known).sum(-1).mean()
    seen = patch_colors(color).to(device).take_along_dim(chosen[..., None], dim=1)
    colors = (model.readout(tokens[:, 1:]) - seen).square().sum(-1).mean()
    other = other_colors().to(device)
    apart = ((phrases @ phrases.T) * other).square().sum() / other.sum()
    return 0.3 * contrast + local + whole + colors + 3 * apart

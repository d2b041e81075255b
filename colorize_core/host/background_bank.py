"""The background's own features, XL v2's: keys and values that the decoder's self-attentions attend to outside of the
figure. They are made once for a run."""

from dataclasses import dataclass, field

import comfy.conds
import torch
from comfy.ldm.modules.attention import BasicTransformerBlock, optimized_attention

from ..figure import Figure, resize_mask
from ..images import repeat_to
from ..networks.embeddings import background_embedding
from ..sketch import LATENT_DOWNSCALE
from .encoded import once
from .feature import Feature, UNetPass
from .figure import SOFT_FIGURE, figure_of
from .injection import READ, WRITE, BankSelfAttention

PREFIX = "background_bank_"  # of keywords: the number of an output block follows; [b,depth*N,2 width]
BANK = "colorize_background_bank"  # key of transformer_options within a pass: its BackgroundBank
FIGURE_ABOVE = 0.05  # of the sketch's mask; as trained, whatever the node's threshold


@dataclass(frozen=True)
class BackgroundBank:
    """For each output block the keys and values [B,depth*N,2 width] of its transformer's blocks, one after the other;
    and the figure's `mask` [B,1,h,w] on the latent."""

    blocks: dict[int, torch.Tensor]
    mask: torch.Tensor
    figures: dict = field(default_factory=dict)  # those of this pass: many blocks have the same size

    def of_block(self, output_block: int, depth: int, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values [B,N,width] of the transformer's block `index` of `depth`."""
        return self.blocks[output_block].chunk(depth, dim=1)[index].chunk(2, dim=2)

    def figure(self, height: int, width: int) -> torch.Tensor:
        """Which of a block's queries are in the figure, [B,height*width,1]."""
        if (height, width) not in self.figures:
            mask = resize_mask(self.mask, (height, width)) > FIGURE_ABOVE
            self.figures[height, width] = mask.flatten(2).mT
        return self.figures[height, width]


class FigureSelfAttention(BankSelfAttention):
    """A self-attention that attends to itself in the figure, and to the background's bank everywhere else.

    Where a reference is injected, where another patch has cut or merged its tokens, or replaces it, it is without.
    """

    depth = 1  # how many blocks its transformer has

    def forward(self, x, context=None, value=None, mask=None, transformer_options={}):  # noqa: B006 (the host's)
        height, width = transformer_options["activations_shape"][2:]
        is_plain = x.shape[1] == height * width and (context is None or context.shape == x.shape)
        if (
            BANK not in transformer_options
            or WRITE in transformer_options
            or READ in transformer_options
            or not is_plain
        ):
            return super().forward(x, context, value, mask, transformer_options)
        context = x if context is None else context
        value = context if value is None else value
        bank = transformer_options[BANK]
        pairs = (
            (self.to_k(context), self.to_v(value)),
            bank.of_block(transformer_options["block"][1], self.depth, transformer_options["block_index"]),
        )
        settings = {"attn_precision": self.attn_precision, "transformer_options": transformer_options}
        query = self.to_q(x)
        own, background = (optimized_attention(query, *pair, self.heads, **settings) for pair in pairs)
        return self.to_out(torch.where(bank.figure(height, width), own, background))


def conds(model, cond: dict) -> dict:
    """Without a latent of the background, as in the published app's latent copy, there is no bank."""
    figure = figure_of(cond)
    if figure is None or not figure.background_enhance or figure.background_latent is None:
        return {}
    if figure.picture_mask is None:
        raise ValueError(
            "reference_mask: XL v2 reads the background together with the mask of the reference's figure. Connect it, "
            "or background_mask, to Figure and Background; or leave vae and latent unconnected."
        )
    inputs = model.diffusion_model, figure.background_latent, figure.picture_mask, figure.sketch_mask
    encoded = once(inputs, lambda: make_bank(model, figure, cond["device"]))
    out = {PREFIX + str(i): comfy.conds.CONDRegular(block) for i, block in enumerate(encoded.maps)}
    out[PREFIX + "0"].encoded = encoded  # alive as long as the run
    return out


def options(unet_pass: UNetPass, options: dict) -> dict:
    own = unet_pass.keywords
    names = [name for name in own if name.startswith(PREFIX)]
    if not names:
        return options
    blocks = {int(name.removeprefix(PREFIX)): own.pop(name) for name in names}
    return options | {BANK: BackgroundBank(blocks, options[SOFT_FIGURE])}


FEATURE = Feature(conds=conds, options=options)


def add_figure_attention(unet) -> None:
    """Gives the self-attentions of the UNet's output blocks the background's bank."""
    for block in unet.output_blocks:
        attentions = self_attentions(block)
        for attention in attentions:
            attention.__class__ = FigureSelfAttention  # its weights and their keys stay as they are
            attention.depth = len(attentions)


def self_attentions(network: torch.nn.Module) -> list[BankSelfAttention]:
    return [module.attn1 for module in network.modules() if isinstance(module, BasicTransformerBlock)]


@torch.no_grad()  # where the host trains, what was made in inference mode could not be differentiated through
def make_bank(model, figure: Figure, device) -> list[torch.Tensor]:
    """The bank of each output block that has self-attentions, as BackgroundBank holds them."""
    unet, latent = model.diffusion_model, model.process_latent_in(figure.background_latent)
    height, width = latent.shape[2:]
    masks = unet.latent_mask(figure.sketch_mask, height, width), figure.picture_mask
    count = max(map(len, (latent, *masks)))
    picture = torch.cat([repeat_to(part.to(latent), count) for part in (latent, *masks)], dim=1)
    canvas = LATENT_DOWNSCALE * height, LATENT_DOWNSCALE * width
    size = background_embedding(figure.background_size, canvas).expand(count, -1)
    seen = iter(unet.bg_encoder(*(part.to(device, model.get_dtype_inference()) for part in (picture, size))))
    by_block = (self_attentions(block) for block in unet.output_blocks)
    return [torch.cat([keys_and_values(a, next(seen)) for a in block], dim=1) for block in by_block if block]


def keys_and_values(attention: BankSelfAttention, tokens: torch.Tensor) -> torch.Tensor:
    """[B,N,width] to [B,N,2 width]."""
    return torch.cat([attention.to_k(tokens), attention.to_v(tokens)], dim=2)

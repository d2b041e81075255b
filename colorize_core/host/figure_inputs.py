"""The pictures and masks that keep figure and background apart, checked and encoded: what the node's inputs become."""

from dataclasses import replace
from typing import Any

import torch

from ..figure import WHITE, Figure, every_eighth, resize_mask, stretch, without_figure
from ..images import checked_mask, rgb_on
from ..sketch import LATENT_DOWNSCALE
from ..tokens import ReferenceTokens
from .clip import encode_reference
from .tagger import Tagger, encode_with_tagger


def with_figure(
    tokens: ReferenceTokens,
    clip_vision,
    reference: torch.Tensor,
    figure: Figure,
    reference_mask: torch.Tensor | None = None,
    background: torch.Tensor | None = None,
    background_mask: torch.Tensor | None = None,
    vae: Any = None,
    latent: dict | None = None,
    tagger: Tagger | None = None,
) -> ReferenceTokens:
    """`tokens` with what `figure` says by its options and its mask, and with what the pictures say.

    Pictures are [B,H,W,C] in 0..1, masks [B,h,w], `latent` is the host's LATENT of the canvas. With all three enhances
    off the tokens have no figure. ValueError, naming the input, for what is missing or cannot be used.
    """
    if not (figure.background_enhance or figure.foreground_enhance or figure.style_enhance):
        return replace(tokens, figure=None)
    require_inputs(figure, reference_mask, background, background_mask, vae, latent)
    reference = rgb_on(reference, paper=WHITE, name="reference")
    if figure.sketch_mask is not None:
        figure = replace(figure, sketch_mask=checked_mask(figure.sketch_mask, "sketch_mask"))

    painted = background_picture(figure, reference, reference_mask, background, background_mask)
    if painted is not None:
        encoded = encode_reference(clip_vision, painted)
        given = background is not None
        figure = replace(figure, background_given=given, background_cls=encoded.cls, background_local=encoded.local)
        if tagger is not None:
            figure = replace(figure, background_tagger=encode_with_tagger(tagger, painted))
    if vae is not None:
        canvas = latent["samples"]
        figure = replace(
            figure,
            reference_latent=encode_on_canvas(vae, reference, canvas),
            reference_size=tuple(reference.shape[1:3]),
        )
        if painted is not None:
            figure = replace(
                figure,
                background_latent=encode_on_canvas(vae, painted, canvas),
                background_size=tuple(painted.shape[1:3]),
            )
        mask, name = (
            (background_mask, "background_mask") if background_mask is not None else (reference_mask, "reference_mask")
        )
        if mask is not None:
            figure = replace(figure, picture_mask=mask_on_canvas(checked_mask(mask, name), canvas))
    return replace(tokens, figure=figure)


def require_inputs(figure: Figure, reference_mask, background, background_mask, vae, latent) -> None:
    """ValueError for an input that the figure's options need and that is not there, or one that means nothing."""
    if (figure.background_enhance or figure.foreground_enhance) and figure.sketch_mask is None:
        raise ValueError(
            "sketch_mask: background_enhance and foreground_enhance need the mask of the drawing's figure. Draw one in "
            "the mask editor, or connect Remove Background's mask of the drawing."
        )
    if figure.background_enhance and background is None and reference_mask is None:
        raise ValueError(
            "reference_mask: background_enhance needs the mask of the reference's figure (Remove Background's), or a "
            "background picture."
        )
    if background is None and background_mask is not None:
        raise ValueError("background_mask: there is no background picture for it. Connect one, or use reference_mask.")
    if (vae is None) != (latent is None):
        missing = "vae" if vae is None else "latent"
        raise ValueError(f"{missing}: vae and latent go together. Connect both, or neither.")
    if figure.style_enhance and vae is None:
        raise ValueError(
            "vae: style_enhance reads the reference at the size of the picture. Connect the VAE of the checkpoint, and "
            "Prepare Sketch's latent."
        )


def background_picture(figure: Figure, reference, reference_mask, background, background_mask) -> torch.Tensor | None:
    """The background as RGB [B,H,W,3]: a picture of its own, or the reference, its figure painted white; None where no
    option looks at it."""
    threshold = figure.reference_threshold
    if background is not None:
        background = rgb_on(background, paper=WHITE, name="background")
        if background_mask is None:
            return background
        return without_figure(background, background_mask, threshold, "background_mask")
    if figure.background_enhance:
        return without_figure(reference, reference_mask, threshold, "reference_mask")
    return None


def encode_on_canvas(vae, image: torch.Tensor, canvas: torch.Tensor) -> torch.Tensor:
    """The VAE's latent of `image` [B,H,W,3], stretched to the picture that the latent `canvas` [b,4,h,w] makes.

    ValueError if the VAE's latents are not of the canvas' kind.
    """
    height, width = (side * LATENT_DOWNSCALE for side in canvas.shape[-2:])
    latent = vae.encode(stretch(image, height, width))
    if latent.shape[1:] != canvas.shape[1:]:
        raise ValueError(
            f"vae: its latent has the shape {list(latent.shape[1:])}, and the input latent {list(canvas.shape[1:])}. "
            "Connect the VAE of the model's checkpoint and the latent of Prepare Sketch."
        )
    return latent


def mask_on_canvas(mask: torch.Tensor, canvas: torch.Tensor) -> torch.Tensor:
    """`mask` [B,h,w] stretched to the picture that the latent `canvas` makes, for XL v2, [B,1,h,w]."""
    height, width = (side * LATENT_DOWNSCALE for side in canvas.shape[-2:])
    return every_eighth(resize_mask(mask[:, None], (height, width)))

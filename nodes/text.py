"""Change a reference with words: its whole (GlobalText), a part of it (LocalText); and see where a text is in it."""

import logging
from dataclasses import replace

import torch
from comfy_api.latest import io, ui

from ..colorize_core import heatmap, manipulation
from ..colorize_core.host.clip import encode_text
from ..colorize_core.images import repeat_to, rgb_on
from .sockets import CATEGORY, Tokens

EVERYTHING = "everything"
EDIT_ALIASES = ["prompt", "text edit", "change colour", "change color", "recolor", "改色", "色替え"]


def _tokens_input() -> io.Input:
    return Tokens.Input("tokens", tooltip="The reference, from Encode Reference or from another text node.")


def _clip_input() -> io.Input:
    return io.Clip.Input(
        "clip", tooltip="The text half of the CLIP that encoded the reference: from the same Load Reference CLIP."
    )


def _text_layer_input() -> io.Input:
    return io.Combo.Input(
        "text_layer",
        options=["penultimate", "last"],
        default="penultimate",
        advanced=True,
        tooltip="Where the text is read from the CLIP: penultimate as ColorizeDiffusion published it, last as CLIP was "
        "trained.",
    )


def _threshold_inputs(unused: str = "") -> list[io.Input]:
    meanings = (
        "Up to here a token is unlike the text",
        "Here a token begins to count",
        "Here it counts by half",
        "From here on it counts in full",
    )
    return [
        io.Float.Input(
            f"threshold_{index}",
            default=default,
            min=0.0,
            max=1.0,
            step=0.01,
            tooltip=f"{meaning} (0 is the least similar part of the reference, 1 the most similar). "
            f"Each threshold must be greater than the one before.{unused}",
        )
        for index, (default, meaning) in enumerate(zip(manipulation.THRESHOLDS, meanings, strict=True))
    ]


def _encode(clip, texts: dict[str, str], tokens, layer: str) -> dict[str, torch.Tensor]:
    """The feature [D] of each of `texts`, a text by the name of its input; empty texts are left out."""
    manipulation.require_clip_alone(tokens)
    texts = {name: text.strip() for name, text in texts.items() if text.strip()}
    features = encode_text(clip, list(texts.values()), layer=layer).to(tokens.cls)
    if features.shape[-1] != (width := tokens.cls.shape[-1]):
        raise ValueError(
            f"clip: its texts are {features.shape[-1]} wide, the reference's tokens {width}. "
            "Take clip and clip_vision from the same Load Reference CLIP."
        )
    return dict(zip(texts, features, strict=True))


def _require(text: str, name: str, example: str) -> None:
    if not text.strip():
        raise ValueError(f"{name}: the text is empty. Write {example}.")


class GlobalText(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ColorizeDiffusion_GlobalText",
            display_name="Global Text Manipulation",
            category=CATEGORY,
            description="Changes the reference as a whole with words. It acts on the CLS token, so it shows with "
            "checkpoints of the CLS kind; for the others use Local Text Manipulation.",
            search_aliases=EDIT_ALIASES,
            inputs=[
                _tokens_input(),
                _clip_input(),
                io.String.Input("target", tooltip='What the result should show, for instance "red hair".'),
                io.String.Input(
                    "anchor",
                    default="",
                    tooltip='What the reference shows instead, for instance "blonde hair"; may be empty.',
                ),
                io.Float.Input(
                    "scale",
                    default=5.0,
                    min=0.0,
                    max=15.0,
                    step=0.1,
                    tooltip="How strongly the target is to be felt.",
                ),
                io.Boolean.Input(
                    "enhance",
                    default=False,
                    tooltip="With an anchor: removes all of the anchor before the target is added. "
                    "Without: adds the target on top of what is there of it.",
                ),
                _text_layer_input(),
            ],
            outputs=[Tokens.Output("tokens", tooltip="The changed reference.")],
        )

    @classmethod
    def execute(cls, tokens, clip, target, anchor, scale, enhance, text_layer):
        _require(target, "target", 'what the result should show, for instance "red hair"')
        texts = _encode(clip, {"target": target, "anchor": anchor}, tokens, text_layer)
        changed = manipulation.manipulate_global(tokens.cls, texts["target"], texts.get("anchor"), scale, enhance)
        return io.NodeOutput(replace(tokens, cls=changed))


class LocalText(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ColorizeDiffusion_LocalText",
            display_name="Local Text Manipulation (PWM)",
            category=CATEGORY,
            description="Changes a part of the reference with words. Shows on the node how much each part is changed: "
            "yellow in full, teal not at all, violet away from the target.",
            search_aliases=[*EDIT_ALIASES, "region", "position weight matrix"],
            has_intermediate_output=True,
            inputs=[
                _tokens_input(),
                _clip_input(),
                io.String.Input("target", tooltip='What that part should show, for instance "red hair".'),
                io.String.Input(
                    "anchor",
                    default="",
                    tooltip='What it shows in the reference, for instance "blonde hair"; may be empty.',
                ),
                io.String.Input(
                    "control",
                    default="",
                    tooltip='Which part to change, for instance "hair", or "everything". '
                    "Empty: the part that looks like the anchor.",
                ),
                io.Float.Input(
                    "scale",
                    default=8.0,
                    min=0.0,
                    max=15.0,
                    step=0.1,
                    tooltip="How strongly the target is to be felt.",
                ),
                io.Boolean.Input(
                    "enhance",
                    default=False,
                    tooltip="With an anchor: as much of the target is added as there is of the anchor, besides the "
                    "scale. Changes nothing without an anchor.",
                ),
                *_threshold_inputs(unused=" Not used if threshold_mode is auto."),
                _text_layer_input(),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Only this part of the reference is changed. A mask painted over the reference; soft edges "
                    "stay soft.",
                ),
                io.Combo.Input(
                    "threshold_mode",
                    options=["manual", "auto"],
                    default="manual",
                    optional=True,
                    tooltip="auto finds the four thresholds from the reference and shows them under the preview; "
                    "the four above are then not used.",
                ),
            ],
            outputs=[
                Tokens.Output("tokens", tooltip="The changed reference."),
                io.Mask.Output(
                    "weights",
                    tooltip="How much each part of the reference is moved to the target, 0 to 1; square, 16 pixels to "
                    "a token: resize it to the reference's size to lay it over the picture.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        tokens,
        clip,
        target,
        anchor,
        control,
        scale,
        enhance,
        threshold_0,
        threshold_1,
        threshold_2,
        threshold_3,
        text_layer,
        mask=None,
        threshold_mode="manual",
    ):
        control = control.strip() or anchor
        _require(target, "target", 'what the part should show, for instance "red hair"')
        _require(control, "control", 'which part to change, for instance "hair", or "everything"')
        everything = control.lower() == EVERYTHING
        texts = {"target": target, "anchor": anchor, "control": "" if everything else control}
        texts = _encode(clip, texts, tokens, text_layer)

        if mask is not None and len(mask) > len(tokens.local):
            tokens = tokens.repeated(len(mask))  # an edit for each mask
        thresholds = None if threshold_mode == "auto" else (threshold_0, threshold_1, threshold_2, threshold_3)
        edit = manipulation.local_edit(
            tokens.cls, tokens.local, **texts, scale=scale, enhance=enhance, thresholds=thresholds, mask=mask
        )
        return io.NodeOutput(
            replace(tokens, local=edit.local),
            heatmap.edit_mask(edit),
            ui=_preview(heatmap.edit_preview(edit), cls),
        )


class TextHeatmap(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ColorizeDiffusion_TextHeatmap",
            display_name="Text Heatmap",
            category=CATEGORY,
            description="Shows where in the reference a text is: from violet (least similar) to yellow (most similar), "
            "one color for each threshold passed. Use it to find a control text and thresholds for Local Text "
            "Manipulation.",
            search_aliases=["find region", "text mask", "clip segmentation", "correlation"],
            inputs=[
                _tokens_input(),
                _clip_input(),
                io.Image.Input("image", tooltip="The reference that the tokens come from; the map is laid over it."),
                io.String.Input("text", tooltip='What to look for, for instance "hair".'),
                *_threshold_inputs(),
                _text_layer_input(),
                io.Boolean.Input(
                    "grid",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="Draws the grid of the reference's tokens.",
                ),
            ],
            outputs=[
                io.Image.Output("image", tooltip="The reference under the map, with a legend of the thresholds below."),
                io.Mask.Output("mask", tooltip="The map without steps, 0 to 1, of the reference's size."),
            ],
        )

    @classmethod
    def execute(
        cls, tokens, clip, image, text, threshold_0, threshold_1, threshold_2, threshold_3, text_layer, grid=False
    ):
        _require(text, "text", 'what to look for in the reference, for instance "hair"')
        thresholds = manipulation.checked_thresholds((threshold_0, threshold_1, threshold_2, threshold_3))
        feature = _encode(clip, {"text": text}, tokens, text_layer)["text"]

        picture = rgb_on(image, paper=1.0, name="image")
        count = max(len(tokens.local), len(picture))
        picture = repeat_to(picture, count)
        correlations = repeat_to(manipulation.correlation(tokens.local, feature), count).to(picture.device)
        layout = manipulation.token_grid(tokens.local.shape[1])
        maps = heatmap.correlation_map(correlations, layout, picture.shape[1:3])

        out = heatmap.overlay(picture, heatmap.steps(maps, thresholds.to(maps)))
        if grid:
            out = heatmap.draw_grid(out, layout)
        return io.NodeOutput(heatmap.with_legend(out, thresholds.expand(count, -1)), maps)


def _preview(pictures: torch.Tensor, node: type[io.ComfyNode]) -> ui.PreviewImage | None:
    """`pictures` [B,H,W,3] for the node to show; none, with a warning, where the temp folder cannot be written to."""
    try:
        return ui.PreviewImage(pictures, cls=node)
    except OSError as error:
        logging.warning("Local Text Manipulation: its preview could not be written (%s).", error)
        return None


NODES = [GlobalText, LocalText, TextHeatmap]

"""The shape of a denoiser, read off its weights: the UNet of Stable Diffusion, in any size."""

from dataclasses import dataclass

import torch

from .keys import StateDict, count, weight

NORM_GROUPS = 32  # of each group normalization


@dataclass(frozen=True)
class UNetShape:
    """All it takes to build the UNet. Depths count transformer blocks: one entry per residual block, inputs first."""

    in_channels: int
    out_channels: int
    model_channels: int
    channel_mult: tuple[int, ...]
    num_res_blocks: tuple[int, ...]
    transformer_depth: tuple[int, ...]
    transformer_depth_middle: int
    transformer_depth_output: tuple[int, ...]  # from the last output block to the first
    context_dim: int
    num_head_channels: int
    use_linear_in_transformer: bool
    adm_in_channels: int | None = None  # width of a vector that conditions it beside the time, where it takes one


def default_head_channels(model_channels: int) -> int:
    """Width of an attention head in a model of which nothing else is known: 64 for those 320 wide."""
    return min(64, model_channels // 2)


def detect_unet(unet: StateDict, name: str, head_channels: int | None = None) -> UNetShape:
    """The shape of a denoiser from its own state dict (no prefix), and its heads' width if that is known.

    ValueError, naming the file, for weights that are missing or a width that does not divide the model's.
    """
    model_channels, in_channels = _shape(unet, "input_blocks.0.0.weight", name)[:2]
    if model_channels % NORM_GROUPS:
        raise ValueError(
            f"{name}: its denoiser is {model_channels} wide, which is no multiple of {NORM_GROUPS} as in Stable "
            "Diffusion: the file is damaged or was put together wrongly, get another."
        )
    levels = _input_levels(unet, name)
    outputs = count(unet, "output_blocks.")
    has_vector = "label_emb.0.0.weight" in unet
    return UNetShape(
        in_channels=in_channels,
        out_channels=_shape(unet, "out.2.weight", name)[0],
        model_channels=model_channels,
        channel_mult=tuple(level[0][0] // model_channels for level in levels),
        num_res_blocks=tuple(len(level) for level in levels),
        transformer_depth=tuple(depth for level in levels for _, depth in level),
        transformer_depth_middle=count(unet, "middle_block.1.transformer_blocks."),
        transformer_depth_output=tuple(
            count(unet, f"output_blocks.{i}.1.transformer_blocks.") for i in reversed(range(outputs))
        ),
        context_dim=_shape(unet, "middle_block.1.transformer_blocks.0.attn2.to_k.weight", name, axes=(2,))[1],
        num_head_channels=_head_channels(head_channels, model_channels, name),
        use_linear_in_transformer=len(_shape(unet, "middle_block.1.proj_in.weight", name, axes=(2, 4))) == 2,
        adm_in_channels=_shape(unet, "label_emb.0.0.weight", name, axes=(2,))[1] if has_vector else None,
    )


def _head_channels(width: int | None, model_channels: int, name: str) -> int:
    width = default_head_channels(model_channels) if width is None else width
    if model_channels % width:
        raise ValueError(
            f"{name}: num_head_channels of its metadata is {width}, which does not divide the model's width of "
            f"{model_channels}: write the metadata anew."
        )
    return width


def _shape(weights: StateDict, key: str, name: str, axes: tuple[int, ...] = (4,)) -> torch.Size:
    """The shape of a weight. ValueError unless it has as many `axes`, none of them empty."""
    return weight(weights, key, name, axes).shape


def _input_levels(unet: StateDict, name: str) -> list[list[tuple[int, int]]]:
    """(width, transformer depth) of each residual block, by level; a strided convolution ends a level."""
    levels = [[]]
    for i in range(1, count(unet, "input_blocks.")):
        block = f"input_blocks.{i}."
        if f"{block}0.op.weight" in unet:
            levels.append([])
        else:
            width = _shape(unet, f"{block}0.out_layers.3.weight", name)[0]
            levels[-1].append((width, count(unet, f"{block}1.transformer_blocks.")))
    if not all(levels):
        raise ValueError(
            f"{name}: a level of its denoiser has no residual block: the file was put together wrongly, get another."
        )
    return levels

"""The shape of a VAE, read off its weights."""

from dataclasses import dataclass

from .keys import StateDict, count, weight


@dataclass(frozen=True)
class AutoencoderConfig:
    """Shape of a VAE in the layout of Stable Diffusion's AutoencoderKL."""

    ch: int
    ch_mult: tuple[int, ...]
    num_res_blocks: int
    z_channels: int
    embed_dim: int


PUBLISHED_AUTOENCODER = AutoencoderConfig(ch=128, ch_mult=(1, 2, 4, 4), num_res_blocks=2, z_channels=4, embed_dim=4)


def detect_autoencoder(vae: StateDict, name: str) -> AutoencoderConfig:
    """The VAE's configuration from its own state dict (no prefix). ValueError if a weight that tells it is missing, or
    if the weights are named as diffusers names them."""
    if any(key.startswith("decoder.up_blocks.") for key in vae):
        raise ValueError(
            f"{name} holds a VAE in the layout of diffusers: take one in that of Stable Diffusion, such as "
            "vae-ft-mse-840000-ema-pruned.safetensors."
        )
    if "post_quant_conv.weight" not in vae:
        raise ValueError(
            f"{name} lacks the VAE's weight post_quant_conv.weight: it is incomplete, or none of Stable Diffusion 1 "
            "or 2. Take one of those, such as vae-ft-mse-840000-ema-pruned.safetensors."
        )
    ch = weight(vae, "encoder.conv_in.weight", name, axes=(4,)).shape[0]
    levels = range(count(vae, "decoder.up."))
    return AutoencoderConfig(
        ch=ch,
        ch_mult=tuple(
            weight(vae, f"decoder.up.{i}.block.0.conv1.weight", name, axes=(4,)).shape[0] // ch for i in levels
        ),
        num_res_blocks=count(vae, "decoder.up.0.block.") - 1,  # a decoder's level has one more than the encoder's
        z_channels=weight(vae, "decoder.conv_in.weight", name, axes=(4,)).shape[1],
        embed_dim=weight(vae, "post_quant_conv.weight", name, axes=(4,)).shape[1],
    )

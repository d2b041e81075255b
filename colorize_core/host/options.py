"""The host's transformer_options with something added; what was there is never changed."""

from collections.abc import Callable

NETWORK = "colorize_network"  # of a pass: what runs in the UNet's place, of (latent, transformer_options)


def with_patch(options: dict, name: str, patch: Callable, first: bool = False) -> dict:
    """`options` with one more patch of that name, after those of others or before them."""
    patches = options.get("patches", {})
    others = patches.get(name, [])
    return options | {"patches": patches | {name: [patch, *others] if first else [*others, patch]}}

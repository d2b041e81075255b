"""What encoders of pictures give: made once for a sampling run, whose conditionings share it."""

from collections.abc import Callable
from weakref import WeakValueDictionary

import torch
from comfy.utils import repeat_to_batch_size

from ..networks.embeddings import size_embedding
from ..sketch import LATENT_DOWNSCALE


class Encoded:
    """The `maps` that an encoder made of `inputs`. The conditions that use it keep it alive, and nothing else does."""

    def __init__(self, inputs: tuple, maps: list[torch.Tensor]):
        self.inputs = inputs  # alive as long as their ids are a key
        self.maps = maps


encodings = WeakValueDictionary()


def encode_once(model, encoder, latent: torch.Tensor, tokens: torch.Tensor, size: tuple[int, int], device) -> Encoded:
    """What `encoder` makes of a VAE's `latent` [b,4,h,w], of a picture's `tokens` [B,N,D] and its own `size`.

    Inputs are told from others by identity: the conditionings of a run hold the same.
    """
    return once((encoder, latent, tokens), lambda: encode(model, encoder, latent, tokens, size, device))


def once(inputs: tuple, make: Callable[[], list[torch.Tensor]]) -> Encoded:
    """What `make` gives, called once as long as what came of these very `inputs` is in use."""
    key = tuple(map(id, inputs))
    found = encodings.get(key)
    if found is None:
        found = encodings[key] = Encoded(inputs, make())
    return found


@torch.no_grad()  # where the host trains, what was made in inference mode could not be differentiated through
def encode(model, encoder, latent, tokens, size, device) -> list[torch.Tensor]:
    dtype = model.get_dtype_inference()
    canvas = tuple(side * LATENT_DOWNSCALE for side in latent.shape[2:])
    embedding = size_embedding(size, canvas).expand(len(latent), -1)
    tokens = repeat_to_batch_size(tokens, len(latent))
    inputs = model.process_latent_in(latent), tokens, embedding
    return encoder(*(tensor.to(device, dtype) for tensor in inputs))

"""How much memory a training takes, by part, before any of it is allocated."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef

from ..checkpoint.config import Config
from ..host.gradient_checkpointing import CHECKPOINTED
from ..host.trainable import Colorizer, empty_unet, stacked_shape
from ..sketch import LATENT_DOWNSCALE
from .experiment import Experiment
from .parts import lora_size, select_weights

MOMENTS = {"adamw": 8, "adamw_8bit": 2}  # bytes of an optimizer's two moments for each weight


def memory_by_part(experiment: Experiment, config: Config, frozen_bytes: int, rows: int) -> dict[str, int]:
    """Bytes on the device of each part of a training at its largest size, `rows` pictures at once.

    `frozen_bytes` are those of VAE and CLIP. What a step allocates beside (workspaces, the gradients' norm) is not
    counted. The network is built of PyTorch's fake tensors, which take no memory.
    """
    settings = experiment.training
    with FakeTensorMode(allow_non_fake_inputs=True):
        unet = empty_unet(config).requires_grad_(True)
        weights = list(unet.parameters())
        if experiment.weights.part == "lora":  # its activations are at most those of training all
            trained = lora_size(unet, experiment.weights.rank)
        else:
            select_weights(unet, experiment.weights)
            trained = sum(weight.numel() for weight in weights if weight.requires_grad)
        activations = activation_bytes(unet, experiment, rows)
        if settings.gradient_checkpointing and settings.mixed_precision != "no":
            activations += 2 * trained  # the halved copies of trained weights, that autocast holds through a pass
    return {
        "weights": sum(4 * weight.numel() for weight in weights),
        "gradients": 4 * trained,
        "optimizer": MOMENTS[settings.optimizer] * trained,
        "average": 0 if settings.ema_on_cpu or not settings.ema else 4 * trained,
        "VAE and CLIP": frozen_bytes,
        "activations": activations,
    }


def activation_bytes(unet: nn.Module, experiment: Experiment, rows: int) -> int:
    """Bytes that a forward pass holds for its gradients, `rows` pictures (twice as many with a dual loss) at once.

    With gradient checkpointing: the blocks' inputs, what lies outside of them, and the largest block's own.
    """
    settings, shape = experiment.training, unet.config.unet
    side = max(experiment.data.resolutions) // LATENT_DOWNSCALE
    rows *= 2 if experiment.strategy.dual_weight else 1
    inputs = (
        torch.randn(rows, shape.in_channels, side, side),
        torch.zeros(rows, dtype=torch.long),
        torch.randn(rows, *stacked_shape(unet.config)),
        torch.randn(rows, 3, side * LATENT_DOWNSCALE, side * LATENT_DOWNSCALE),
    )
    own = {StorageWeakRef(weight.untyped_storage()) for weight in unet.parameters()}
    block_of: dict[StorageWeakRef, int] = {}  # where each storage was first saved; 0 is outside of all blocks
    sizes: dict[StorageWeakRef, int] = {}
    with current_block(unet) as current:

        def saved(tensor: torch.Tensor) -> torch.Tensor:
            storage = StorageWeakRef(tensor.untyped_storage())
            if storage not in own:
                sizes[storage] = tensor.untyped_storage().nbytes()
                block_of.setdefault(storage, current[-1])
            return tensor

        kind = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.bfloat16}[settings.mixed_precision]
        with (
            torch.autograd.graph.saved_tensors_hooks(saved, lambda tensor: tensor),
            torch.autocast("cpu", kind, enabled=settings.mixed_precision != "no"),
        ):
            output = Colorizer(unet)(*inputs)
    del output
    totals: dict[int, int] = {}
    for storage, size in sizes.items():
        totals[block_of[storage]] = totals.get(block_of[storage], 0) + size
    if not settings.gradient_checkpointing:
        return sum(totals.values())
    outside = totals.pop(0, 0)
    return outside + sum(current.inputs.values()) + max(totals.values())


class _Blocks(list):
    """The numbers of the blocks that are running, innermost last, and the bytes of each block's input."""

    inputs: dict[int, int]


@contextmanager
def current_block(unet: nn.Module) -> Iterator[_Blocks]:
    current, hooks = _Blocks([0]), []
    current.inputs = {}

    def enter(module: nn.Module, arguments: tuple) -> None:
        current.append(id(module))
        current.inputs[id(module)] = arguments[0].untyped_storage().nbytes()

    for module in unet.modules():
        if isinstance(module, CHECKPOINTED):
            hooks.append(module.register_forward_pre_hook(enter))
            hooks.append(module.register_forward_hook(lambda *_: current.pop() and None))
    try:
        yield current
    finally:
        for hook in hooks:
            hook.remove()

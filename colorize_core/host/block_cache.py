"""Block Cache: at most steps the deep blocks of the UNet are not computed, and what they gave before is used again.

What a UNet's deep blocks make changes little from step to step (the idea of DeepCache, arXiv 2312.00858). At a full
step the result of the last block before the shallow ones is stored; at the others only the first input blocks and their
counterparts at the end run on it, with everything that acts in them: hints, regions, strengths, ControlNet, LoRA.
What is stored lives as long as the run.
"""

from dataclasses import dataclass, field
from functools import partial

import comfy.model_patcher
import comfy.patcher_extension
import torch
from comfy.ldm.modules.attention import SpatialTransformer
from comfy.patcher_extension import WrappersMP
from comfy_api.torch_helpers.torch_compile import COMPILE_KEY

from .feature import Feature, UNetPass
from .options import NETWORK, with_patch

BLOCK_CACHE = "colorize_block_cache"  # key of a run's transformer_options, and of what puts it there: a RunCache
SHALLOW = 1  # input blocks, the first, and output blocks, the last, that are computed at every step


@dataclass
class StoredPass:
    """What one full pass left: the shape that each deep block gave, by ("input", 3), and the last one's result."""

    shapes: dict[tuple[str, int], torch.Size] = field(default_factory=dict)
    result: torch.Tensor | None = None


@dataclass
class RunCache:
    """The state of one run of `steps` steps. Full are all evaluations of the model outside of `start_percent` to
    `end_percent` of it, and every `interval`-th inside."""

    interval: int
    start_percent: float
    end_percent: float
    steps: int
    step: int = 0
    age: int = 0  # evaluations since the last full one
    passes: int = 0  # of the UNet in this evaluation
    is_full: bool = True
    stored: dict[tuple, StoredPass] = field(default_factory=dict)

    def begin_evaluation(self) -> None:
        inside = self.start_percent <= self.step / self.steps <= self.end_percent
        self.passes = 0
        self.is_full = not self.stored or not inside or self.age >= self.interval - 1
        self.age = 0 if self.is_full else self.age + 1
        if self.is_full:
            self.stored = {}

    def network(self, unet, latent: torch.Tensor, options: dict):
        """What runs in the UNet's place for this pass: it, while storing, or its shallow part."""
        key = self.passes, tuple(options.get("uuids", ())), latent.shape, latent.device
        self.passes += 1
        if self.is_full or key not in self.stored:
            self.stored[key] = StoredPass()
            return storing_network(unet, self.stored[key])
        return shallow_network(unet, self.stored[key])


class PartialNetwork:
    """A UNet with other blocks: lists of layers. All else is the UNet's own."""

    def __init__(self, unet, input_blocks: list, middle_block: list, output_blocks: list):
        self._unet = unet
        self.input_blocks, self.middle_block, self.output_blocks = input_blocks, middle_block, output_blocks

    def __getattr__(self, name: str):
        return getattr(self._unet, name)


class StoringLayer:
    """The end of a deep block at a full step; `act` stores what has come out of it."""

    def __init__(self, stored: StoredPass, block: tuple[str, int], is_last: bool):
        self.stored, self.block, self.is_last = stored, block, is_last

    def act(self, h: torch.Tensor, transformer_options: dict) -> torch.Tensor:
        self.stored.shapes[self.block] = h.shape
        if self.is_last:
            self.stored.result = h
        return h


class Skip:
    """All of a deep block at the other steps: zeros of the block's shape, and for the last one the stored result."""

    def __init__(self, stored: StoredPass, block: tuple[str, int], is_last: bool, transformers: int):
        self.shape, self.result = stored.shapes[block], stored.result if is_last else None
        self.transformers = transformers

    def act(self, h: torch.Tensor, transformer_options: dict) -> torch.Tensor:
        transformer_options["transformer_index"] += self.transformers  # the host counts those that it runs
        return h.new_zeros(self.shape) if self.result is None else self.result


def storing_network(unet, stored: StoredPass) -> PartialNetwork:
    return PartialNetwork(unet, *deep_blocks(unet, lambda layers, *block: [*layers, StoringLayer(stored, *block)]))


def shallow_network(unet, stored: StoredPass) -> PartialNetwork:
    def skipped(layers, *block):
        return [Skip(stored, *block, sum(isinstance(layer, SpatialTransformer) for layer in layers))]

    return PartialNetwork(unet, *deep_blocks(unet, skipped))


def deep_blocks(unet, change) -> tuple[list, list, list]:
    """Input, middle and output blocks of `unet`; in place of a deep one what `change(layers, block, is_last)` makes."""
    outputs = len(unet.output_blocks)
    last = outputs - SHALLOW - 1
    inputs = [
        block if number < SHALLOW else change(block, ("input", number), False)
        for number, block in enumerate(unet.input_blocks)
    ]
    middle = change(unet.middle_block, ("middle", 0), False)
    ends = [
        block if number > last else change(block, ("output", number), number == last)
        for number, block in enumerate(unet.output_blocks)
    ]
    return inputs, middle, ends


def act(layer: StoringLayer | Skip, h, emb, context, transformer_options, *others) -> torch.Tensor:
    """The `forward_timestep_embed_patch` by which the host runs those layers."""
    return layer.act(h, transformer_options)


def options(unet_pass: UNetPass, options: dict) -> dict:
    if BLOCK_CACHE not in options:
        return options
    patched = with_patch(options, "forward_timestep_embed_patch", ((StoringLayer, Skip), act))
    return patched | {NETWORK: partial(options[BLOCK_CACHE].network, unet_pass.unet)}


FEATURE = Feature(options=options)


def with_block_cache(model, interval: int, start_percent: float, end_percent: float):
    """A clone of the MODEL `model` that computes its deep blocks at every `interval`-th step only; 1 is off.

    Between `start_percent` and `end_percent` of a run, 0..1; before and behind, at every step. An earlier Block Cache
    is replaced.
    """
    patched = model.clone()
    patched.remove_wrappers_with_key(WrappersMP.OUTER_SAMPLE, BLOCK_CACHE)
    if interval > 1:
        wrapper = run_with_cache(interval, start_percent, end_percent)
        patched.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, BLOCK_CACHE, wrapper)
    return patched


def run_with_cache(interval: int, start_percent: float, end_percent: float):
    """An OUTER_SAMPLE wrapper: a run with a RunCache of its own, that is told of each evaluation and each step."""

    def wrapper(executor, noise, latent_image, sampler, sigmas, denoise_mask=None, callback=None, *args, **kwargs):
        guider = executor.class_obj
        if guider.model_patcher.get_wrappers(WrappersMP.APPLY_MODEL, COMPILE_KEY):
            raise ValueError(
                "model: Block Cache and TorchCompileModel do not work together, since what is compiled cannot leave "
                "out blocks. Remove one of them."
            )
        cache = RunCache(interval, start_percent, end_percent, max(1, len(sigmas) - 1))

        def evaluated(executor, *args, **kwargs):
            cache.begin_evaluation()
            return executor(*args, **kwargs)

        def stepped(step, *args):
            cache.step = step + 1
            if callback is not None:
                callback(step, *args)

        before = guider.model_options
        guider.model_options = comfy.model_patcher.create_model_options_clone(before)
        guider.model_options["transformer_options"][BLOCK_CACHE] = cache
        add = comfy.patcher_extension.add_wrapper_with_key
        add(WrappersMP.PREDICT_NOISE, BLOCK_CACHE, evaluated, guider.model_options, is_model_options=True)
        try:
            return executor(noise, latent_image, sampler, sigmas, denoise_mask, stepped, *args, **kwargs)
        finally:
            guider.model_options = before

    return wrapper

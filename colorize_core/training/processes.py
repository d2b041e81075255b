"""The processes of a training: one, or as many as torchrun or `accelerate launch` has started."""

import os
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, InitProcessGroupKwargs, parse_flag_from_env

from ..host import standalone

PATIENCE = timedelta(hours=2)  # of processes that wait while the main one validates and saves
ONE_MODEL_EACH = (  # the whole model in each process: what the state and the average are made for
    DistributedType.NO,
    DistributedType.MULTI_CPU,
    DistributedType.MULTI_GPU,
    DistributedType.MULTI_NPU,
    DistributedType.MULTI_XPU,
)


def start_processes(
    mixed_precision: str = "no", trackers: tuple[str, ...] = (), folder: Path | None = None
) -> Accelerator:
    """This process among the others, on a device of its own; `trackers` write into `folder`.

    Raises ValueError for a launch that this training cannot be run by, or that asks for another `mixed_precision`, and
    SystemExit where a tracker's package is missing.
    """
    for tracker in trackers:
        standalone.require(tracker)
    on_cpu = not torch.accelerator.is_available() or parse_flag_from_env("ACCELERATE_USE_CPU")
    _refuse_flags(mixed_precision, on_cpu)
    accelerator = Accelerator(
        cpu=on_cpu,
        mixed_precision=mixed_precision,
        log_with=list(trackers) or None,
        project_dir=folder,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
    )
    if accelerator.distributed_type not in ONE_MODEL_EACH:
        raise ValueError(
            f"accelerate is set to {accelerator.distributed_type.value}, which divides a model over processes; each "
            "process trains a whole one here. Launch without it (accelerate config has what holds by default)."
        )
    return accelerator


def _refuse_flags(mixed_precision: str, on_cpu: bool) -> None:
    for flag in ("fsdp", "deepspeed", "megatron_lm"):
        if parse_flag_from_env(f"ACCELERATE_USE_{flag.upper()}"):
            raise ValueError(
                f"accelerate launch was given --use_{flag}, which divides a model over processes; each process trains "
                "a whole one here. Launch without it; gradient_checkpointing and ema_on_cpu save memory."
            )
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if launched not in ("no", mixed_precision):
        raise ValueError(
            f"training.mixed_precision: is {mixed_precision}, and accelerate launch was given --mixed_precision "
            f"{launched}: give both the same, or leave the launch's out."
        )
    # For several processes on the CPU `accelerate launch` wants MPI; without, it sets a port and starts a single one.
    if on_cpu and "MASTER_PORT" in os.environ and "WORLD_SIZE" not in os.environ:
        raise ValueError(
            "accelerate launch was given several processes on the CPU and has started one: "
            "torchrun --nproc_per_node 2 -m colorize_core.training ... starts them."
        )

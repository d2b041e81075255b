import pytest
import torch

from colorize_core.memory import is_out_of_memory

PAGING_FILE = OSError("The paging file is too small for this operation to complete")
PAGING_FILE.winerror = 1455


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        PAGING_FILE,
        RuntimeError("[enforce fail at alloc_cpu.cpp:113] err == 0. DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 17179869184 bytes."),
        RuntimeError("MPS backend out of memory (MPS allocated: 18.00 GB)"),
    ],
)
def test_each_systems_words_for_it_are_known(error):
    assert is_out_of_memory(error)


def test_the_allocator_itself_says_so():
    with pytest.raises(RuntimeError) as refused:
        torch.empty(2**50)
    assert is_out_of_memory(refused.value)


@pytest.mark.parametrize(
    "error", [ValueError("tried to allocate"), OSError("disk full"), RuntimeError("mat1 and mat2")]
)
def test_other_errors_are_not_it(error):
    assert not is_out_of_memory(error)


def test_a_gpus_is_left_to_the_host():
    assert not is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))

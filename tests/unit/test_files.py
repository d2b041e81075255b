import os
import stat

import pytest
import torch
from safetensors.torch import save_file

from colorize_core.files import atomic_write


def write(path, text):
    with atomic_write(path) as unfinished:
        unfinished.write_text(text)


def test_a_written_file_takes_the_place_of_the_one_before(tmp_path):
    path = tmp_path / "a.json"
    for text in ("first", "second"):
        write(path, text)
    assert path.read_text() == "second" and os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_write_that_fails_leaves_the_file_before_it_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.json"
    write(path, "first")
    with pytest.raises(error), atomic_write(path) as unfinished:
        unfinished.write_text("half")
        raise error
    assert path.read_text() == "first" and os.listdir(tmp_path) == ["a.json"]


def test_the_writer_sees_the_ending_of_the_file(tmp_path):
    with atomic_write(tmp_path / "a.npz") as unfinished:
        assert unfinished.suffix == ".npz" and unfinished.parent == tmp_path


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_a_file_has_the_mode_that_the_umask_gives_even_if_its_writer_makes_it_private(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "a.safetensors") as unfinished:
            save_file({"a": torch.zeros(1)}, unfinished)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.safetensors").stat().st_mode) == 0o640

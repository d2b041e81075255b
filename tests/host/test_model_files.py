"""Files that are no model's, through the loaders: each has its sentence."""

import pickle
import re
import shutil
import zipfile

import pytest
import torch
from safetensors.torch import save_file


class Code:
    def __reduce__(self):
        return print, ("code from a file ran",)


@pytest.fixture
def read(pack, tmp_path):
    """`read(name, write)`: what the reader makes of the file that `write(path)` has written."""

    def run(name, write):
        write(tmp_path / name)
        return pack.colorize_core.host.files.read_state_dict(str(tmp_path / name))

    return run


@pytest.fixture
def refusal(read):
    """The reader's sentence on a file, which names it and says what to do."""

    def run(name, write, error=ValueError):
        with pytest.raises(error, match=rf"^{re.escape(name)}") as refused:
            read(name, write)
        return str(refused.value)

    return run


def bytes_(data: bytes):
    return lambda path: path.write_bytes(data)


def pickled(content, **options):
    return lambda path: torch.save(content, path, **options)


def test_a_pickle_of_tensors_is_read(read):
    for zipped in (True, False):
        weights, metadata = read("a.ckpt", pickled({"w": torch.ones(2)}, _use_new_zipfile_serialization=zipped))
        assert weights["w"].tolist() == [1, 1] and metadata == {}


def test_a_pickle_with_code_is_not_run(refusal, capsys):
    assert "would have to run code" in refusal("a.ckpt", pickled({"w": Code()}))
    assert "code from a file ran" not in capsys.readouterr().out


@pytest.mark.parametrize("length", [2, 3, 10, 300, -1])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_cut_pickle_is_damaged_and_not_code(refusal, length, zipped):
    def write(path):
        torch.save({"w": torch.ones(2)}, path, _use_new_zipfile_serialization=zipped)
        path.write_bytes(path.read_bytes()[:length])

    assert "incomplete or damaged" in refusal("a.ckpt", write)


def test_a_file_with_the_ending_of_another_kind_is_to_be_renamed(refusal):
    def write(path):
        save_file({"w": torch.ones(2)}, path)

    assert "rename it so that it ends in .safetensors" in refusal("a.ckpt", write)
    assert "rename it so that it ends in .ckpt" in refusal("a.safetensors", pickled({"w": torch.ones(2)}))


def test_a_packed_archive_is_refused_before_it_is_unpacked(refusal):
    def write(path):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("archive/data.pkl", bytes(10**7))

    assert "unpack it" in refusal("a.ckpt", write)


@pytest.mark.parametrize("content", [{1: torch.ones(2)}, [1, 2]])
def test_tensors_without_names_are_no_model(refusal, content):
    assert "no named tensors" in refusal("a.ckpt", pickled(content))


def test_tensors_that_hold_no_plain_values_are_no_model(refusal):
    for tensor in (torch.eye(3).to_sparse(), torch.ones(2, device="meta")):
        assert "w is stored as a sparse" in refusal("a.ckpt", pickled({"w": tensor}))


def test_web_pages_and_empty_files_are_to_be_downloaded_again(refusal):
    assert "a web page?" in refusal("a.safetensors", bytes_(b"<!doctype html><html>"))
    assert "is an empty file" in refusal("a.safetensors", bytes_(b""))
    assert "incomplete or damaged" in refusal("a.ckpt", bytes_(pickle.dumps([])[:-1]))


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (MemoryError(), MemoryError, "not enough memory to read it"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), MemoryError, "not enough memory to read it"),
        (PermissionError("denied"), ValueError, "give it the right to"),
        (FileNotFoundError("gone"), ValueError, "is no longer there"),
        (OSError("I/O error"), ValueError, "incomplete or damaged"),
        (IndexError("pop from empty list"), ValueError, "incomplete or damaged"),
        (torch.OutOfMemoryError("CUDA out of memory"), torch.OutOfMemoryError, "^CUDA out of memory$"),
    ],
)
def test_what_fails_while_reading_is_called_by_its_name(pack, golden_checkpoint, monkeypatch, error, kind, says):
    def fail(*args, **kwargs):
        raise error

    files = pack.colorize_core.host.files
    monkeypatch.setattr(files.comfy.utils, "load_torch_file", fail)
    with pytest.raises(kind, match=says):
        files.read_state_dict(str(golden_checkpoint))


def test_a_file_that_is_deleted_meanwhile_is_no_longer_there(pack, tmp_path, golden_checkpoint):
    path = tmp_path / "a.safetensors"
    shutil.copy(golden_checkpoint, path)
    path.unlink()
    with pytest.raises(ValueError, match=r"^a\.safetensors is no longer there: choose another file"):
        pack.colorize_core.host.files.read_state_dict(str(path))

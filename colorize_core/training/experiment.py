"""An experiment: all that one training takes, read from a YAML file and checked before anything is loaded.

    start: {kind: checkpoint, file: mult-eps-ft.safetensors}
    clip: open_clip_model.safetensors
    data: {root: pictures, resolutions: [512], batch_size: 16}
    output: runs/noisy
    strategy: {noisy_rate: 1.0}
    training: {steps: 20000, learning_rate: 1e-5}

Paths are relative to the file. What is wrong in it is a ValueError that names the key, its value and what is allowed.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from ..checkpoint.unet import default_head_channels
from .data import DataSettings
from .deformation import Deformation
from .strategies import Strategy
from .trainer import TrainingSettings

LEVELS = 4  # of a v1 model
NORM_GROUPS = 32  # of the channels of each of its normalisations

T = TypeVar("T")


@dataclass(frozen=True)
class Shape:
    """A new v1 model, by default in the published size; `context_dim` is the width of the CLIP's tokens.

    `num_head_channels` is the width of an attention head; None is half of `model_channels`, at most 64.
    """

    model_channels: int = 320
    channel_mult: tuple[int, ...] = (1, 2, 4, 4)
    context_dim: int = 1024
    num_head_channels: int | None = None

    def __post_init__(self):
        if len(self.channel_mult) != LEVELS or min(self.channel_mult) < 1:
            raise ValueError(f"channel_mult: is {list(self.channel_mult)}; allowed are {LEVELS} numbers of 1 or more.")
        for name in ("model_channels", "context_dim", "num_head_channels"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: is {value}; allowed is 1 or more.")
        if self.model_channels % NORM_GROUPS:
            raise ValueError(f"model_channels: is {self.model_channels}; allowed are multiples of {NORM_GROUPS}.")
        heads = self.num_head_channels or default_head_channels(self.model_channels)
        if self.model_channels % heads:
            raise ValueError(
                f"num_head_channels: is {heads}, which does not divide model_channels, {self.model_channels}; "
                "name one that does."
            )


@dataclass(frozen=True)
class StartSettings:
    """What the training starts from: a ColorizeDiffusion or Stable Diffusion 2 `file`, or nothing, a new `shape`."""

    kind: Literal["checkpoint", "stable_diffusion", "nothing"]
    file: Path | None = None
    shape: Shape | None = None

    def __post_init__(self):
        of_file = self.file is not None and self.shape is None
        of_shape = self.file is None and self.shape is not None
        if not (of_shape if self.kind == "nothing" else of_file):
            takes = "a `shape` and no `file`" if self.kind == "nothing" else "a `file` and no `shape`"
            raise ValueError(f"kind: is {self.kind}, which takes {takes}.")
        if self.file is not None:
            check_file("file", self.file)


@dataclass(frozen=True)
class Experiment:
    """One training. `vae` is that of the start's file unless given; `prediction` auto is what the start predicts.

    `token_type` is the kind of the model, as in LoadCheckpoint: it takes the reference's local tokens (attention) or
    its CLS token. `samples` pictures are colored each time that the training saves, as a sheet to look at.
    """

    start: StartSettings
    clip: Path
    data: DataSettings
    output: Path
    training: TrainingSettings
    vae: Path | None = None
    strategy: Strategy = field(default_factory=Strategy)
    deformation: Deformation = field(default_factory=Deformation)
    prediction: Literal["auto", "eps", "v"] = "auto"
    token_type: Literal["attention", "cls"] = "attention"
    samples: int = 4

    def __post_init__(self):
        check_file("clip", self.clip)
        if self.vae is not None:
            check_file("vae", self.vae)
        elif self.start.kind == "nothing":
            raise ValueError("vae: is missing; a start from nothing needs the file of a VAE.")
        if not self.data.root.is_dir():
            raise ValueError(f"data.root: is {self.data.root}, and there is no such folder.")
        if self.samples < 0:
            raise ValueError(f"samples: is {self.samples}; allowed is 0 (none) or more.")
        if self.data.batch_size % self.training.accumulation:
            raise ValueError(
                f"training.accumulation: is {self.training.accumulation}; allowed are divisors of data.batch_size, "
                f"{self.data.batch_size}."
            )


def check_file(key: str, file: Path) -> None:
    if not file.is_file():
        raise ValueError(f"{key}: is {file}, and there is no such file.")


def load(path: Path, overrides: Iterable[str] = ()) -> Experiment:
    """The experiment of the YAML file `path`, with `overrides` such as "training.steps=10" (see `with_overrides`)."""
    check_file("experiment", path)
    try:
        mapping = yaml.load(path.read_text(encoding="utf-8"), _Loader)
        return from_mapping(Experiment, with_overrides(mapping, overrides), path.resolve().parent)
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: {error}") from error


def with_overrides(mapping: Mapping | None, overrides: Iterable[str]) -> Mapping | None:
    """A copy of `mapping` with the values of "section.key=value" in it, written as in YAML."""
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ValueError(f"{override}: is no override; write section.key=value.")
        mapping = _with(mapping, key.split("."), yaml.load(text, _Loader), override)
    return mapping


def _with(mapping: Any, keys: list[str], value: Any, override: str) -> dict:
    if not isinstance(mapping, Mapping | None):
        raise ValueError(f"{override}: leads into {mapping!r}, which has no keys.")
    mapping = dict(mapping or {})
    first, *rest = keys
    return mapping | {first: _with(mapping.get(first), rest, value, override) if rest else value}


def from_mapping(kind: type[T], mapping: Any, folder: Path, key: str = "") -> T:
    """The dataclass `kind` with the values of `mapping`, read by the types of its fields; paths start at `folder`.

    Raises ValueError, naming the key from the top on, for unknown and missing keys, values of another type, and what
    the dataclass itself refuses with "field: what is wrong".
    """
    types = get_type_hints(kind)
    allowed = ", ".join(types)
    if mapping is None:  # a section whose lines are all commented out
        mapping = {}
    if not isinstance(mapping, Mapping):
        raise ValueError(f"{key or 'the file'}: is {mapping!r}; allowed is a section with {allowed}.")
    for name, value in mapping.items():
        if name not in types:
            raise ValueError(f"{_join(key, name)}: is {value!r}, but no such key exists; allowed are {allowed}.")
    for one in fields(kind):
        if one.name not in mapping and one.default is MISSING and one.default_factory is MISSING:
            raise ValueError(f"{_join(key, one.name)}: is missing; it must be {_described(types[one.name])}.")
    values = {name: _read(types[name], value, folder, _join(key, name)) for name, value in mapping.items()}
    try:
        return kind(**values)
    except ValueError as error:
        raise ValueError(_join(key, str(error))) from error


def _read(kind: Any, value: Any, folder: Path, key: str) -> Any:
    """`value` as YAML gave it, as a value of the type `kind`."""
    if get_origin(kind) in (Union, UnionType):
        if value is None:
            return None
        (kind,) = (choice for choice in get_args(kind) if choice is not NoneType)
    if is_dataclass(kind):
        return from_mapping(kind, value, folder, key)
    if get_origin(kind) is tuple and isinstance(value, list):
        items = get_args(kind)
        if items[-1] is ... or len(items) == len(value):
            return tuple(_read(items[0], item, folder, f"{key}[{i}]") for i, item in enumerate(value))
    if get_origin(kind) is Literal and value in get_args(kind):
        return value
    if kind is Path and isinstance(value, str) and value:
        return folder / Path(value).expanduser()
    if kind in (int, float) and type(value) in (int, float) and math.isfinite(value) and kind(value) == value:
        return kind(value)
    if kind in (bool, str) and type(value) is kind:
        return value
    raise ValueError(f"{key}: is {value!r}; allowed is {_described(kind)}.")


def _described(kind: Any) -> str:
    """What a value of a type looks like in YAML."""
    if get_origin(kind) is Literal:
        return " or ".join(get_args(kind))
    if get_origin(kind) is tuple:
        first, *rest = get_args(kind)
        count = "" if rest == [...] else f" of {len(rest) + 1}"
        return f"a list{count}, each item {_described(first)}"
    if is_dataclass(kind):
        return f"a section with {', '.join(one.name for one in fields(kind))}"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "a text", Path: "a path"}[kind]


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


class _Loader(yaml.SafeLoader):
    """As YAML 1.2 reads it, where YAML 1.1 surprises: `no` and `on` are words, 1e-5 is a number."""


_BOOL, _FLOAT = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:float"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOL, re.compile("^(true|false|True|False)$"), list("tfTF"))
_Loader.add_implicit_resolver(_FLOAT, re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789"))

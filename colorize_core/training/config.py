"""Reads an experiment from its YAML file (YAML 1.2) and checks it, before anything is loaded.

Paths are relative to the file. What is wrong in it is a ValueError that names the key, its value and what is allowed.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from .data import DataSettings
from .deformation import Deformation
from .experiment import Experiment, Shape, StartSettings, check_file
from .parts import WeightSettings
from .settings import TrainingSettings, ValidationSettings
from .strategies import Strategy

SECTIONS = (Experiment, StartSettings, Shape, DataSettings, Strategy, Deformation, WeightSettings)
SECTIONS += (TrainingSettings, ValidationSettings)
for section in SECTIONS:
    with_config(ConfigDict(extra="forbid", allow_inf_nan=False))(section)


def load(path: Path, overrides: Iterable[str] = ()) -> Experiment:
    """The experiment of the YAML file `path`, with `overrides` such as "training.steps=10" (see `with_overrides`)."""
    check_file("experiment", path)
    try:
        mapping = with_overrides(read_yaml(path.read_text(encoding="utf-8")), overrides)
        return checked_experiment(mapping, path.resolve().parent)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_yaml(text: str) -> Any:
    """What a YAML text holds. Raises ValueError for what is no YAML or too deep, and for a key twice."""
    try:
        return YAML(typ="safe", pure=True).load(text)
    except RecursionError as error:
        raise ValueError("is nested too deeply.") from error
    except MarkedYAMLError as error:
        problem = error.problem.partition(" with value ")[0]  # of a key that comes twice
        raise ValueError(f"line {error.problem_mark.line + 1}: {problem}.") from error
    except YAMLError as error:
        raise ValueError(f"is no YAML: {error}") from error


def with_overrides(mapping: Mapping | None, overrides: Iterable[str]) -> Mapping | None:
    """A copy of `mapping` with the values of "section.key=value" in it, written as in YAML."""
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ValueError(f"{override}: is no override; write section.key=value.")
        mapping = _with(mapping, key.split("."), read_yaml(text), override)
    return mapping


def _with(mapping: Any, keys: list[str], value: Any, override: str) -> dict:
    if not isinstance(mapping, Mapping | None):
        raise ValueError(f"{override}: leads into {mapping!r}, which has no keys.")
    mapping = dict(mapping or {})
    first, *rest = keys
    return mapping | {first: _with(mapping.get(first), rest, value, override) if rest else value}


def checked_experiment(mapping: Any, folder: Path) -> Experiment:
    """The experiment of a YAML file's content; its paths start at `folder`. Raises ValueError, a line for each key."""
    if isinstance(mapping, Mapping | None):  # sections whose lines are all commented out are empty ones
        sections = {f.name for f in fields(Experiment) if is_dataclass(_section_of((f.name,)))}
        mapping = {k: {} if v is None and k in sections else v for k, v in (mapping or {}).items()}
    try:
        return TypeAdapter(Experiment).validate_json(json.dumps(mapping, default=str), strict=True, context=folder)
    except ValidationError as error:
        raise ValueError("\n".join(map(_sentence, error.errors(include_url=False)))) from error


def _sentence(error: Mapping[str, Any]) -> str:
    """What is wrong with a key, from an error of pydantic's."""
    where, given = error["loc"], error["input"]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).removeprefix(".")
    if error["type"] == "missing":
        return f"{key}: is missing."
    if error["type"] == "unexpected_keyword_argument":
        return f"{key}: is {given!r}, but no such key exists; allowed are {_keys(_section_of(where[:-1]))}."
    if error["type"] == "value_error":  # of the section itself: it begins with its key
        return f"{key}.{error['ctx']['error']}" if key else str(error["ctx"]["error"])
    if error["type"] == "dataclass_type":
        return f"{key or 'the file'}: is {given!r}; allowed is a section with {_keys(_section_of(where))}."
    return f"{key}: is {given!r}; allowed is {error['msg'].removeprefix('Input should be ')}."


def _section_of(where: tuple) -> Any:
    """The type of what lies at a key's parts."""
    kind = Experiment
    for name in where:
        kind = get_type_hints(kind)[name]
        kind = next((choice for choice in get_args(kind) if is_dataclass(choice)), kind)
    return kind


def _keys(section: type) -> str:
    return ", ".join(one.name for one in fields(section))

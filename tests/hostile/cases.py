"""One hostile case: a node of the pack, all of its inputs sound but one or two, or a model file that is not sound.

Valid inputs are made from the schemas alone, so that a new node is tried as soon as it is in the pack.
"""

import copy
import random
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.hostile import files, judge, values

PREFIX = "ColorizeDiffusion_"
WIDGETS = {"target": "red hair", "text": "hair", "steps": 1, "width": 64, "height": 64, "filename_prefix": "hostile"}
LOADERS = [  # node, folder of its files, and the entry of their metadata that describes the network
    ("LoadCheckpoint", "checkpoints", "colorize_diffusion_config"),
    ("LoadCLIP", "clip_vision", "open_clip_config"),
]
OWN_VALUES = ("tokens", "sketch", "palette")  # what the pack's own values call themselves


@dataclass(frozen=True)
class Bench:
    """What a case is made of: the pack's nodes by name, sound values by socket type, and model files."""

    nodes: dict[str, type]
    sound: dict[str, object]
    models_dir: Path
    checkpoints: dict[str, tuple[dict, dict]]  # weights and metadata of a sound file of each version, by its name
    clip: tuple[dict, dict]
    others: dict[str, list]  # more sound values by socket type: of other versions, or made with all optional inputs


def set_up(nodes: dict[str, type], models_dir: Path, checkpoints: dict, clip: tuple, names: dict[str, str]) -> Bench:
    """A bench with a sound value for each socket type that the pack's nodes, or these few, can make.

    `names` are those of sound model files, by the inputs that take them; those of `checkpoints` are written.
    """
    for name, (weights, metadata) in checkpoints.items():
        save_file(weights, models_dir / "checkpoints" / name, metadata)
    others = {"MODEL": [nodes["LoadCheckpoint"].execute(ckpt_name=name).result[0] for name in checkpoints]}
    torch.manual_seed(0)
    sound = {
        **names,
        "IMAGE": torch.rand(1, 48, 64, 3).round(),
        "MASK": torch.rand(1, 48, 64).round(),
        "LATENT": {"samples": torch.zeros(1, 4, 8, 8)},
    }
    bench = Bench(nodes, sound, models_dir, checkpoints, clip, others)
    waiting = list(nodes)
    while waiting:  # a node can run once there is a value for each socket that it requires
        ready = [name for name in waiting if _can_run(bench, nodes[name])]
        if not ready:
            break
        for name in ready:
            waiting.remove(name)
            outputs = nodes[name].GET_SCHEMA().outputs
            if all(output.get_io_type() in sound for output in outputs):
                continue
            plain = nodes[name].execute(**sound_inputs(bench, nodes[name], optional=False)).result
            whole = nodes[name].execute(**sound_inputs(bench, nodes[name])).result
            for output, *made in zip(outputs, plain, whole, strict=True):
                sound.setdefault(output.get_io_type(), made[0])
                others.setdefault(output.get_io_type(), []).append(made[1])
    return bench


def _can_run(bench: Bench, node) -> bool:
    return all(slot.optional or _sound_value(bench, slot) is not None for slot in node.GET_SCHEMA().inputs)


def sound_inputs(bench: Bench, node, optional: bool = True) -> dict:
    """Inputs with which `node` does its work."""
    slots = [slot for slot in node.GET_SCHEMA().inputs if optional or not slot.optional]
    inputs = {slot.id: _sound_value(bench, slot) for slot in slots}
    return {name: value for name, value in inputs.items() if value is not None}


def _sound_value(bench: Bench, slot):
    if slot.id in bench.sound or slot.id in WIDGETS:
        return bench.sound.get(slot.id, WIDGETS.get(slot.id))
    kind = slot.get_io_type()
    if kind == "COMBO":
        return slot.default or next(iter(slot.options), None)
    if hasattr(slot, "default"):
        return slot.default if slot.default is not None else getattr(slot, "min", None)
    return bench.sound.get(kind)


def run_case(bench: Bench, seed: int, number: int) -> tuple[str, str | None]:
    """(what was tried, why it ended badly or None) of the case `number` of a `seed`."""
    draw = random.Random(f"{seed}-{number}")
    torch.manual_seed(number)
    if draw.random() < 0.08:
        return _file_case(bench, draw)
    return _node_case(bench, draw)


def _node_case(bench: Bench, draw: random.Random) -> tuple[str, str | None]:
    name = draw.choice(sorted(bench.nodes))
    node = bench.nodes[name]
    slots = node.GET_SCHEMA().inputs
    inputs = sound_inputs(bench, node)
    for slot in slots:
        if slot.id in inputs and slot.get_io_type() in bench.others and draw.random() < 0.25:
            inputs[slot.id] = draw.choice(bench.others[slot.get_io_type()])
    for slot in draw.sample(slots, k=min(len(slots), draw.choice([1, 1, 1, 2, 3]))):
        try:
            inputs[slot.id] = _hostile_value(bench, draw, slot)
        except ValueError as error:  # a value that cannot even be made
            return f"{slot.id} for {name}", judge.why_bad_error(error, OWN_VALUES)
    for slot in slots:
        if slot.optional and draw.random() < 0.3:
            inputs.pop(slot.id, None)
    tried = f"{name}({', '.join(f'{key}={_short(value)}' for key, value in inputs.items())})"
    return tried, _verdict(bench, node, inputs)


def _hostile_value(bench: Bench, draw: random.Random, slot):
    kind = slot.get_io_type()
    if kind in ("INT", "FLOAT"):
        value = values.number(draw, slot)
        return min(value, 8) if slot.id == "steps" and isinstance(value, int) else value
    if kind == "STRING":
        return values.text(draw)
    if kind == "BOOLEAN":
        return draw.choice([True, False, 1, None, "yes"])
    if kind == "COMBO":
        return values.choice(draw, slot.options)
    if draw.random() < 0.15 or kind not in bench.sound:
        return draw.choice(values.LITERALS)
    return values.nested(draw, copy.copy(bench.sound[kind]))


def _verdict(bench: Bench, node, inputs: dict) -> str | None:
    names = [slot.id for slot in node.GET_SCHEMA().inputs] + [node.GET_SCHEMA().display_name]
    names += [path.name for folder in ("checkpoints", "clip_vision") for path in (bench.models_dir / folder).iterdir()]
    try:
        result = node.execute(**inputs).result or ()
    except Exception as error:
        return judge.why_bad_error(error, names)
    outputs = node.GET_SCHEMA().outputs
    problems = (judge.why_bad_result(o.get_io_type(), value) for o, value in zip(outputs, result, strict=True))
    return next(filter(None, problems), None)


def _file_case(bench: Bench, draw: random.Random) -> tuple[str, str | None]:
    """A model file with one thing wrong: loaded, and if that goes well, used."""
    name, folder, key = draw.choice(LOADERS)
    sound = draw.choice(list(bench.checkpoints.values())) if name == "LoadCheckpoint" else bench.clip
    path = bench.models_dir / folder / "hostile.safetensors"
    state = draw.getstate()
    file_name = files.write(draw, path, *sound, key)
    try:
        return f"{name} of {file_name}, drawn by {hash(state) % 10**6}", _use_file(bench, name, file_name)
    finally:
        (path.parent / file_name).unlink()


def _use_file(bench: Bench, name: str, file_name: str) -> str | None:
    nodes, sound, names = bench.nodes, bench.sound, [file_name, "clip", "clip_vision", "model", "vae", "tokens"]
    try:
        if name == "LoadCheckpoint":
            model, _ = nodes[name].execute(ckpt_name=file_name).result
            inputs = sound_inputs(bench, nodes["Sampler"]) | {"model": model}
            (latent,) = nodes["Sampler"].execute(**inputs).result
            results = [("LATENT", latent)]
        else:
            clip_vision, clip = nodes[name].execute(clip_name=file_name).result
            (tokens,) = nodes["EncodeReference"].execute(clip_vision=clip_vision, image=sound["IMAGE"]).result
            inputs = sound_inputs(bench, nodes["GlobalText"]) | {"clip": clip}
            (changed,) = nodes["GlobalText"].execute(**inputs).result
            results = [("COLORIZE_TOKENS", tokens), ("COLORIZE_TOKENS", changed)]
    except Exception as error:
        return judge.why_bad_error(error, names)
    return next(filter(None, (judge.why_bad_result(*result) for result in results)), None)


def _short(value) -> str:
    """`value` in a few words, tensors by their type, shape and range."""
    if isinstance(value, torch.Tensor):
        has_range = value.numel() and not value.is_complex()
        low_high = [f"{edge:.3g}" for edge in value.float().aminmax()] if has_range else []
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}{'..'.join(low_high)}"
    if is_dataclass(value):
        return _short({field.name: getattr(value, field.name) for field in fields(value)})
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_short(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_short, value))}]"
    return f"{type(value).__name__}" if type(value).__module__.startswith("comfy") else repr(value)[:60]

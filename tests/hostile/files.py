"""Hostile model files: a tiny checkpoint or CLIP with one thing wrong in it, written where the loaders look."""

import io
import json
import pickle
import random
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save_file


class _Code:
    """A pickle that would run code."""

    def __reduce__(self):
        return print, ("code from a file ran",)


def write(draw: random.Random, path: Path, weights: dict, metadata: dict, key: str) -> str:
    """Writes a file that is `weights` and `metadata` with one thing wrong, at `path` or its like; returns its name.

    `key` is that of the metadata entry which describes the network.
    """
    make = draw.choice([_changed_weights, _changed_weights, _changed_metadata, _changed_bytes, _changed_pickle])
    return make(draw, path, dict(weights), dict(metadata), key)


def _changed_weights(draw, path, weights, metadata, key):
    name = draw.choice(list(weights))
    draw.choice(WEIGHT_CHANGES)(draw, weights, name)
    save_file({key: value.contiguous() for key, value in weights.items()}, path, metadata)
    return path.name


def _fill_one(draw, weights, name):
    weights[name] = torch.full_like(weights[name], draw.choice([float("nan"), float("inf"), 1e38]))


def _fill_all(draw, weights, name):
    value = draw.choice([float("nan"), float("inf"), 1e38, 7e4])
    for key in weights:
        weights[key] = torch.full_like(weights[key], value)


def _retype_all(draw, weights, name):
    dtype = draw.choice([torch.int8, torch.int64, torch.complex64, torch.bool, torch.uint8, torch.float16])
    for key in weights:
        weights[key] = weights[key].to(dtype)


def _retype_one(draw, weights, name):
    weights[name] = weights[name].to(draw.choice([torch.int8, torch.complex64, torch.bool, torch.bfloat16]))


def _reshape_one(draw, weights, name):
    x = weights[name]
    weights[name] = draw.choice(
        [x.flatten()[0], x.flatten(), x[None], x[:1], x.flatten()[:0], torch.cat([x, x])]
    ).clone()


def _lose_some(draw, weights, name):
    prefix = name[: draw.randrange(1, len(name) + 1)]
    for key in [key for key in weights if key.startswith(prefix)]:
        del weights[key]


def _add_some(draw, weights, name):
    weights[draw.choice([f"{name}.more", "x", "", "bg_encoder.0.weight", "img_embedder.x", "v_pred"])] = torch.zeros(2)


def _inpainting(draw, weights, name):
    for key in weights:
        if key.endswith("input_blocks.0.0.weight"):
            weights[key] = torch.cat([weights[key], weights[key], weights[key][:, :1]], dim=1)


def _more_blocks(draw, weights, name):
    for key in [key for key in weights if ".input_blocks.1." in key or ".layers.0." in key]:
        block = draw.choice(["12", "99", "x", "-1"])
        weights[key.replace(".1.", f".{block}.", 1).replace(".layers.0.", f".layers.{block}.")] = weights[key].clone()


def _token_ids(draw, weights, name):
    for key in [key for key in weights if key.endswith("token_embedding.weight")]:
        rows = weights[key][:5].clone()
        ids = draw.choice(
            [[0, 1, 2, 3, 49408], [0, 1, 2, 3, -1], [0, 1, 2], [[0, 1, 2, 3, 4]], [0.5, 1, 2, 3, float("nan")]]
        )
        weights[key], weights[key.replace("weight", "ids")] = rows, torch.tensor(ids)


WEIGHT_CHANGES = [_fill_one, _fill_all, _retype_all, _retype_one, _reshape_one, _lose_some, _add_some, _inpainting]
WEIGHT_CHANGES += [_more_blocks, _token_ids]


def _changed_metadata(draw, path, weights, metadata, key):
    told = json.loads(metadata[key])
    parts = [told, *[part for part in told.values() if isinstance(part, dict)]]
    part = draw.choice(parts)
    part[draw.choice(list(part))] = draw.choice(
        [0, -1, 3, 1.5, 1e9, 10**9, float("inf"), float("nan"), "4", None, [], {}, True, [3, 4], 10**30]
    )
    wrong = ["[" * 100_000, "", "null", "{}", "[]", "1e999", '{"a": ' * 5000, "\x00", "{'a': 1}"]
    metadata[key] = draw.choice([json.dumps(told), json.dumps(told), draw.choice(wrong)])
    save_file(weights, path, metadata)
    return path.name


def _changed_bytes(draw, path, weights, metadata, key):
    save_file(weights, path, metadata)
    data = bytearray(path.read_bytes())
    kind = draw.choice(["cut", "garbled", "header", "web page", "empty", "other ending", "length"])
    if kind == "cut":
        data = data[: draw.choice([1, 7, 8, 9, 100, len(data) // 2, len(data) - 1])]
    elif kind == "garbled":
        for _ in range(200):
            data[draw.randrange(8, 20_000)] = draw.randrange(256)
    elif kind == "header":
        data = data[:8] + data[8:].replace(b'"F32"', draw.choice([b'"F99"', b'"I32"', b'"F8 "']), 1)
    elif kind == "web page":
        data = bytearray(b"<!doctype html><html>Not found</html>")
    elif kind == "empty":
        data = bytearray()
    elif kind == "length":
        data[:8] = draw.choice([2**63 - 1, 0, 2**40]).to_bytes(8, "little")
    elif kind == "other ending":
        path.unlink()
        path = path.with_suffix(draw.choice([".ckpt", ".pt", ".pth", ".bin"]))
    path.write_bytes(data)
    return path.name


def _changed_pickle(draw, path, weights, metadata, key):
    path = path.with_suffix(draw.choice([".ckpt", ".pt", ".pth"]))
    kind = draw.choice(
        ["plain", "code", "keys", "list", "number", "cut", "garbled", "bare", "layouts", "bomb", "nested"]
    )
    first = next(iter(weights))
    content = {
        "code": weights | {"x": _Code()},
        "keys": dict(enumerate(weights.values())),
        "list": list(weights.values())[:3],
        "number": 3,
        "nested": {"state_dict": {"state_dict": {"a": {"b": torch.zeros(2)}}}},
        "layouts": weights | {first: draw.choice(_layouts(weights[first]))},
    }.get(kind, weights)
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=draw.random() < 0.7)
    data = bytearray(buffer.getvalue())
    if kind == "cut":
        data = data[: draw.choice([2, 3, 10, 500, len(data) // 2, len(data) - 1])]
    elif kind == "garbled":
        for _ in range(50):
            data[draw.randrange(2, 5000)] = draw.randrange(256)
    elif kind == "bare":
        data = draw.choice(
            [pickle.dumps({"a": 1}), pickle.dumps(_Code()), b"\x80\x02", b"\x80\x02}q\x00.", b"PK\x03\x04"]
        )
    path.write_bytes(data)
    if kind == "bomb":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in ("archive/data.pkl", "archive/version"):
                archive.writestr(name, bytes(50_000_000))
    return path.name


def _layouts(x: torch.Tensor) -> list[torch.Tensor]:
    quantized = torch.quantize_per_tensor(x.float().flatten()[:8], 0.1, 0, torch.qint8)
    return [x.to_sparse(), x.to("meta"), quantized, x.to(torch.complex64), torch.nn.Parameter(x)]

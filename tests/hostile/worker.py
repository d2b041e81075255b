"""The process that is watched: runs the cases and prints a line for each. Set up by pytest, for the fixtures' sake."""

import copy
import json
import os
import sys

import pytest
import torch
from safetensors.torch import save_file
from weights import state_dict

from tests.host.test_tagger import SMALL, swin
from tests.hostile import cases, judge

HEADS = {"num_head_channels": "hd", "sketch_head_channels": "sketch_dim_head", "mixer_head_channels": "proj_dim_head"}
VERSIONS = ("tiny", "tiny_v15", "tiny_v2", "tiny_xl", "tiny_xlv2")  # goldens of each


def say(**event) -> None:
    print(f"\n@{json.dumps(event)}", file=sys.__stdout__, flush=True)


@pytest.fixture
def bench(pack, host, models_dir, goldens, tiny_clip, tiny_vae_state_dict, request):
    """A bench with the tiny models."""
    nodes = {
        name.removeprefix(cases.PREFIX): cls
        for name, cls in host.NODE_CLASS_MAPPINGS.items()
        if name.startswith(cases.PREFIX)
    }
    checkpoints = {}
    for version in VERSIONS:
        path = goldens / f"{version}.json"
        weights = {key: value for key, value in state_dict(path).items() if not key.startswith("clip.")}
        config = json.loads(path.read_text())["config"]
        widths = {name: config[key] for name, key in HEADS.items() if key in config}
        metadata = {"colorize_diffusion_config": json.dumps(widths)}
        checkpoints[f"{version}.safetensors"] = weights | tiny_vae_state_dict, metadata
    clip = request.getfixturevalue("golden_clip_state_dict"), request.getfixturevalue("golden_clip_metadata")
    save_file(swin(**SMALL).state_dict(), models_dir / "clip_vision" / "tagger.safetensors")
    names = {"ckpt_name": f"{VERSIONS[0]}.safetensors", "clip_name": tiny_clip, "tagger_name": "tagger.safetensors"}
    return cases.set_up(nodes, models_dir, checkpoints, clip, names)


def test_cases(bench):
    first, count, seed = (int(os.environ[f"HOSTILE_{name}"]) for name in ("FIRST", "CASES", "SEED"))
    before = {name: copy.deepcopy(bench.sound[name]) for name in ("IMAGE", "MASK", "LATENT", "COLORIZE_TOKENS")}
    picture = color(bench)
    say(ready=sorted(bench.nodes))
    for number in range(first, first + count):
        say(start=number)
        tried, problem = cases.run_case(bench, seed, number)
        if changed := next((name for name, value in before.items() if differs(value, bench.sound[name])), None):
            problem = f"it changed its input, the {changed}"
        say(end=number, tried=tried, problem=problem)
    again = color(bench)
    say(end=first + count, tried="the first prompt once more", problem=judge.why_bad_result("LATENT", again))
    if not torch.equal(picture["samples"], again["samples"]):
        say(end=first + count, tried="the first prompt once more", problem="it gave another picture")
    say(done=True)


def color(bench):
    node = bench.nodes["Sampler"]
    return node.execute(**cases.sound_inputs(bench, node)).result[0]


def differs(one, other) -> bool:
    pairs = zip(judge.tensors(one), judge.tensors(other), strict=True)
    return any(not torch.equal(first, second) for (_, first), (_, second) in pairs)

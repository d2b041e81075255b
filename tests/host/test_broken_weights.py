"""Checkpoints of the right keys with weights, types or metadata of no model: refused, or noticed in what they make."""

import json
import os
from copy import deepcopy

import pytest
import torch
from safetensors.torch import save_file

NAME = "broken-weights.safetensors"
UNET = "model.diffusion_model."
CURE = r".*(get|choose|Get|write|save) "


@pytest.fixture
def load(node, models_dir, golden_state_dict, tiny_vae_state_dict, golden_config_metadata):
    """`load(changed, metadata)`: MODEL and VAE of the tiny checkpoint with these weights changed."""

    def run(changed, metadata=golden_config_metadata):
        weights = golden_state_dict | tiny_vae_state_dict
        changed = changed(weights) if callable(changed) else changed
        save_file(weights | changed, models_dir / "checkpoints" / NAME, metadata)
        return node("LoadCheckpoint").execute(ckpt_name=NAME).result

    return run


@pytest.fixture
def color(node, pack):
    """`color(model, steps)`: the latent that Colorize makes of nothing in particular."""

    def run(model, steps=1):
        width = model.model.config.unet.context_dim
        generator = torch.Generator().manual_seed(0)
        local = torch.randn(1, 16, width, generator=generator)
        tokens = pack.colorize_core.tokens.ReferenceTokens(cls=local[:, :1], local=local)
        sketch = pack.colorize_core.sketch.Sketch(-torch.ones(1, 3, 64, 64))
        values = {"latent": {"samples": torch.zeros(1, 4, 8, 8)}, "seed": 0, "steps": steps, "denoise": 1.0}
        values |= {"reference_guidance": 1.0, "sketch_guidance": 1.0, "sampler_name": "euler", "scheduler": "normal"}
        return node("Sampler").execute(model=model, tokens=tokens, sketch=sketch, **values).result[0]["samples"]

    return run


@pytest.mark.parametrize("spoiled", [float("nan"), float("inf"), 1e38])
@pytest.mark.parametrize("key", [UNET + "out.2.weight", UNET + "time_embed.0.weight", "control_encoder."])
def test_a_model_that_makes_no_numbers_is_named_with_its_file(load, color, golden_state_dict, key, spoiled):
    key = next(name for name in golden_state_dict if name.startswith(key) and name.endswith("weight"))
    model, _ = load({key: torch.full_like(golden_state_dict[key], spoiled)})
    with pytest.raises(ValueError, match=rf"^model: what {NAME} makes is NaN.*{CURE}"):
        color(model)


def test_the_guider_notices_it_too(load, node, core_node, pack, golden_state_dict):
    key = UNET + "out.2.weight"
    model, _ = load({key: torch.full_like(golden_state_dict[key], float("nan"))})
    local = torch.ones(1, 16, model.model.config.unet.context_dim)
    tokens = pack.colorize_core.tokens.ReferenceTokens(cls=local[:, :1], local=local)
    sketch = pack.colorize_core.sketch.Sketch(-torch.ones(1, 3, 64, 64))
    conditioning = node("Conditioning").execute(tokens, sketch).result
    (guider,) = node("Guider").execute(model, *conditioning, 2.0, 1.0).result
    (noise,) = core_node("RandomNoise")(noise_seed=0)
    (sampler,) = core_node("KSamplerSelect")(sampler_name="euler")
    (sigmas,) = core_node("BasicScheduler")(model=model, scheduler="normal", steps=1, denoise=1.0)
    latent = {"samples": torch.zeros(1, 4, 8, 8)}
    with pytest.raises(ValueError, match=rf"^model: what {NAME} makes is NaN"):
        core_node("SamplerCustomAdvanced")(
            noise=noise, guider=guider, sampler=sampler, sigmas=sigmas, latent_image=latent
        )


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.bool, torch.complex64])
def test_weights_of_another_type_than_floats_are_refused(load, dtype):
    def changed(weights):
        return {key: value.to(dtype) for key, value in weights.items() if key.startswith(UNET)}

    with pytest.raises(ValueError, match=rf"^{NAME}: .* is of the type {dtype}, {CURE}"):
        load(changed)


@pytest.mark.parametrize("spoiled", [float("nan"), float("inf"), 1e38])
def test_a_vae_that_holds_no_numbers_is_refused(load, tiny_vae_state_dict, spoiled):
    key = "first_stage_model.decoder.conv_in.weight"
    with pytest.raises(ValueError, match=rf"^{NAME}: {key} holds NaN, {CURE}"):
        load({key: torch.full_like(tiny_vae_state_dict[key], spoiled)})


def test_a_model_for_inpainting_is_refused(load, golden_state_dict):
    key = UNET + "input_blocks.0.0.weight"
    nine = golden_state_dict[key].repeat(1, 3, 1, 1)[:, :9].contiguous()
    with pytest.raises(ValueError, match=rf"^{NAME}: its denoiser takes 9 channels .*{CURE}"):
        load({key: nine})


@pytest.mark.parametrize(
    "key",
    [
        "input_blocks.0.0.weight",
        "input_blocks.1.0.out_layers.3.weight",
        "middle_block.1.proj_in.weight",
        "middle_block.1.transformer_blocks.0.attn2.to_k.weight",
        "out.2.weight",
    ],
)
@pytest.mark.parametrize("shape", [(), (7,), (0, 3, 3, 3), (7, 7, 7, 7, 7), (33, 4, 3, 3)])
def test_weights_of_no_models_shape_are_refused(load, key, shape):
    with pytest.raises(ValueError, match=rf"^{NAME}: .*{CURE}"):
        load({UNET + key: torch.zeros(shape)})


@pytest.mark.parametrize(
    "entries",
    [
        "[" * 100_000,
        "null",
        json.dumps({"num_head_channels": 1e9}),
        json.dumps({"num_head_channels": float("inf")}),
        json.dumps({"num_head_channels": 1.5}),
        json.dumps({"num_head_channels": -8}),
        json.dumps({"num_head_channels": 10**30}),
        json.dumps({"prediction": ["eps"]}),
    ],
)
def test_metadata_that_cannot_be_meant_is_refused(load, entries):
    with pytest.raises(ValueError, match=rf"^{NAME}: .*{CURE}") as refused:
        load({}, {"colorize_diffusion_config": entries})
    assert len(str(refused.value)) < 400


def test_head_widths_below_zero_are_refused(load):
    with pytest.raises(ValueError, match=rf"^{NAME}: its weight colorize_head_channels {CURE}"):
        load({"colorize_head_channels": torch.tensor([-1, 0, 0])})


def test_a_file_put_in_anothers_place_is_loaded_anew(load, run_prompt, models_dir):
    load({})
    inputs = {"ckpt_name": NAME, "prediction": "auto", "token_type": "attention"}
    prompt = {
        "load": {"class_type": "ColorizeDiffusion_LoadCheckpoint", "inputs": inputs},
        "out": {"class_type": "Capture", "inputs": {"value": ["load", 0]}},
    }
    assert run_prompt(deepcopy(prompt)).success  # the host notes in it what it found
    assert "load" not in run_prompt(deepcopy(prompt)).ran
    path = models_dir / "checkpoints" / NAME
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 10**9))
    assert "load" in run_prompt(deepcopy(prompt)).ran


@pytest.mark.parametrize("steps", [1, 5])
def test_what_a_model_makes_is_looked_at_once_in_a_run_however_many_steps(load, color, pack, monkeypatch, steps):
    looks = []
    guider = pack.colorize_core.host.guider
    monkeypatch.setattr(guider, "is_finite", lambda values: looks.append(values.shape) or True)
    model, _ = load({})
    color(model, steps)
    assert looks == [(1, 4, 8, 8)]

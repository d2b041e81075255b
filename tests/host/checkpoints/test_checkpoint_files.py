"""Checkpoint files of every format, broken and foreign ones: the host's MODEL, or a sentence."""

import os
import pickle
import struct

import pytest
import torch

# Formats


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_half_and_quarter_precision_files_load(load, golden_state_dict, tiny, predict, dtype):
    """A CPU computes in float32, so all that is lost is what rounding the weights loses."""
    name = f"tiny-{str(dtype).removeprefix('torch.')}.safetensors"
    small = {key: value.to(dtype) for key, value in golden_state_dict.items()}
    model, _ = load(small, name)
    rounded, _ = load({key: value.float() for key, value in small.items()}, f"rounded-{name}")
    assert torch.equal(predict(model), predict(rounded))
    assert not torch.equal(predict(model), predict(tiny))


def test_scaled_fp8_files_are_their_weights_times_the_scales(load, golden_state_dict, predict, assert_golden):
    prefix = "model.diffusion_model."
    scaled, plain = {f"{prefix}scaled_fp8": torch.empty(2, dtype=torch.float8_e4m3fn)}, {}
    for key, value in golden_state_dict.items():
        scaled[key] = plain[key] = value
        if key.startswith(prefix) and key.endswith(".weight") and value.ndim == 2:
            scale = value.abs().max() / 448
            scaled[key] = (value / scale).to(torch.float8_e4m3fn)
            scaled[key.replace(".weight", ".scale_weight")] = scale
            plain[key] = scaled[key].float() * scale
    model, _ = load(scaled, "tiny-fp8_scaled.safetensors")
    expected, _ = load(plain, "tiny-unscaled.safetensors")
    assert_golden(predict(model), predict(expected), 1e-3)


def test_half_precision_stays_half_in_memory(load, golden_state_dict, monkeypatch, predict):
    from comfy.cli_args import args

    monkeypatch.setattr(args, "fp16_unet", True)
    model, _ = load({key: value.half() for key, value in golden_state_dict.items()}, "tiny-half.safetensors")
    assert {p.dtype for p in model.model.diffusion_model.parameters()} == {torch.float16}
    assert predict(model).isfinite().all()


@pytest.mark.parametrize("wrap", [lambda weights: weights, lambda weights: {"state_dict": weights, "global_step": 7}])
def test_a_ckpt_pickle_of_plain_tensors_loads(load, golden_state_dict, tiny, predict, wrap):
    model, _ = load(wrap(golden_state_dict), "tiny.ckpt")
    assert torch.equal(predict(model), predict(tiny))


class MakeFolder:
    """Pickled, this makes a folder when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_with_code_in_it_is_refused_and_not_run(load, open_file, checkpoints):
    trap = checkpoints / "ran"
    with pytest.raises(ValueError, match=r"code\.ckpt holds more than tensors"):
        load({"model": MakeFolder(trap)}, "code.ckpt")
    with open(checkpoints / "old.ckpt", "wb") as file:  # as before torch packed its files
        pickle.dump(MakeFolder(trap), file, protocol=2)
    with pytest.raises(ValueError, match=r"old\.ckpt holds more than tensors"):
        open_file("old.ckpt")
    assert not trap.exists()


# Broken and foreign files


@pytest.mark.parametrize("ending", ["safetensors", "ckpt"])
def test_an_empty_file(open_file, checkpoints, ending):
    (checkpoints / f"empty.{ending}").touch()
    with pytest.raises(ValueError, match=rf"empty\.{ending} is an empty file"):
        open_file(f"empty.{ending}")


@pytest.mark.parametrize("ending", ["safetensors", "ckpt"])
@pytest.mark.parametrize("part", [0.5, 0.001])
def test_a_truncated_file(load, open_file, checkpoints, golden_state_dict, ending, part):
    name = f"cut.{ending}"
    load(golden_state_dict, name)
    with open(checkpoints / name, "r+b") as file:
        file.truncate(int(os.path.getsize(checkpoints / name) * part))
    with pytest.raises(ValueError, match=rf"cut\.{ending} is incomplete or damaged"):
        open_file(name)


def test_a_web_page_saved_as_a_model(open_file, checkpoints):
    for name in ("page.safetensors", "page.ckpt"):
        (checkpoints / name).write_text("<!DOCTYPE html><html><body>Sign in to download this file</body></html>")
        with pytest.raises(ValueError, match=rf"{name} is no model file \(a web page\?\)"):
            open_file(name)


@pytest.mark.parametrize("error", [struct.error, KeyError, TypeError, AttributeError])
def test_a_file_that_the_host_stumbles_over_is_damaged(open_file, tiny_checkpoint, monkeypatch, error):
    """Its reader of safetensors for dynamic memory takes a file's own word for types, shapes and places."""
    import comfy.utils

    def stumble(*args, **kwargs):
        raise error("by the reader")

    monkeypatch.setattr(comfy.utils, "load_torch_file", stumble)
    with pytest.raises(ValueError, match=r"tiny-eps\.safetensors is incomplete or damaged"):
        open_file(tiny_checkpoint)


def test_a_stable_diffusion_checkpoint_is_sent_to_its_own_loader(load, golden_state_dict):
    plain = {key: value for key, value in golden_state_dict.items() if not key.startswith("control_encoder.")}
    with pytest.raises(ValueError, match=r"sd\.safetensors has no sketch encoder .* load it with Load Checkpoint"):
        load(plain, "sd.safetensors")


@pytest.mark.parametrize("gone", ["output_blocks.4.1.transformer_blocks.0.attn2.to_v.weight", "time_embed.0.bias"])
def test_a_checkpoint_with_a_weight_missing(load, golden_state_dict, gone):
    rest = {key: value for key, value in golden_state_dict.items() if not key.endswith(gone)}
    with pytest.raises(ValueError, match=rf"gap\.safetensors lacks 1 of the \d+ weights, .*{gone} the first"):
        load(rest, "gap.safetensors")


@pytest.mark.parametrize("bent", ["model.diffusion_model.time_embed.0.weight", "control_encoder.zero_layer.0.bias"])
def test_a_weight_of_another_shape_is_named(load, golden_state_dict, bent):
    weight = golden_state_dict[bent]
    with pytest.raises(ValueError, match=rf"bent\.safetensors: .*{bent} has the shape .* asks for"):
        load(golden_state_dict | {bent: weight[:-1].clone()}, "bent.safetensors")

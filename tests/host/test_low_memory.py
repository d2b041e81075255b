"""Where memory is short: weights stored in fewer bits, and a model of which the host loads only a part."""

import pytest
import torch
from few_steps import few_step_lora


@pytest.fixture
def load(node, tiny_checkpoint, monkeypatch):
    """`load(flag)`: the small model afresh, as ComfyUI loads it when it is started with that flag."""

    def run(flag=None):
        import comfy.cli_args

        if flag:
            monkeypatch.setattr(comfy.cli_args.args, flag, True)
        return node("LoadCheckpoint").execute(tiny_checkpoint).result[0]

    return run


STORAGE = {
    "fp16_unet": (torch.float16, 3e-3),
    "bf16_unet": (torch.bfloat16, 3e-2),
    "fp8_e4m3fn_unet": (torch.float8_e4m3fn, 0.4),
}


@pytest.mark.parametrize("flag", STORAGE)
def test_weights_stored_in_fewer_bits_give_nearly_the_same_picture(load, colorize, flag):
    dtype, tolerance = STORAGE[flag]
    made, plain = colorize(model=load(flag)), colorize()
    stored = load(flag).model.diffusion_model.input_blocks[1][1].transformer_blocks[0].attn2.to_k.weight
    assert stored.dtype == dtype
    assert 0 < (made - plain).std() / plain.std() < tolerance


def test_a_model_that_is_loaded_in_part_gives_the_same_picture_also_with_a_lora(load, colorize, monkeypatch):
    """The host then moves and patches each layer's weights when it is computed."""
    import comfy.model_patcher
    import comfy.sd

    lora, _ = few_step_lora(load())
    whole, _ = comfy.sd.load_lora_for_models(load(), None, lora, 1.0, 0.0)
    part, _ = comfy.sd.load_lora_for_models(load(), None, lora, 1.0, 0.0)
    plain, expected = colorize(), colorize(model=whole)

    load_weights = comfy.model_patcher.ModelPatcher.load

    def in_part(self, device_to=None, lowvram_model_memory=0, **more):
        return load_weights(self, device_to, lowvram_model_memory=1, **more | {"full_load": False})

    monkeypatch.setattr(comfy.model_patcher.ModelPatcher, "load", in_part)
    made = colorize(model=part)
    layer = part.model.diffusion_model.input_blocks[1][1].transformer_blocks[0].attn2.to_k
    assert part.model.model_lowvram and layer.weight_function and not hasattr(layer, "comfy_patched_weights")
    assert torch.allclose(made, expected, atol=1e-4) and not torch.allclose(made, plain, atol=1e-2)

"""Reference Strength: beside other patches, at zero, twice, and after compiling."""

import torch
from small import SIZE, WIDTH, rand


def test_reference_strength_leaves_other_attention_patches_at_work(node, model, colorize):
    weakened = node("ReferenceStrength").execute(model, 0.5).result[0]
    flipped = weakened.clone()
    flipped.set_model_attn2_patch(lambda query, context, value, options: (query, context, -value))
    outputs = [colorize(model=m) for m in (model, weakened, flipped)]
    assert not torch.allclose(outputs[0], outputs[1], atol=1e-3)
    assert not torch.allclose(outputs[1], outputs[2], atol=1e-3)


def test_reference_strength_zero_is_no_reference(node, model, ksampler, condition, tokens, sketch, assert_golden):
    none = node("ReferenceStrength").execute(model, 0.0).result[0]
    _, no_reference, _ = condition(tokens(), sketch())
    assert_golden(ksampler(model=none, cfg=1.0), ksampler(positive=no_reference, cfg=1.0))


def test_a_later_reference_strength_replaces_an_earlier_one(node, model, colorize):
    strength = node("ReferenceStrength").execute
    twice = strength(strength(model, 0.2).result[0], 0.5).result[0]
    assert torch.equal(colorize(model=twice), colorize(model=strength(model, 0.5).result[0]))


def test_reference_strength_may_change_after_compiling(pack, small_config, assert_golden):
    """Compiled as the stock node does it, which never looks at transformer_options again; two levels for speed."""
    import comfy.ops
    from comfy_extras.nodes_torch_compile import skip_torch_compile_dict

    unet = pack.colorize_core.host.unet.ColorizeUNet(
        config=small_config(blocks=(0, 2), downscales=(1, 2)),
        image_size=32,
        in_channels=4,
        out_channels=4,
        model_channels=32,
        channel_mult=(1, 1),
        num_res_blocks=[1, 1],
        num_head_channels=16,
        use_spatial_transformer=True,
        context_dim=WIDTH,
        transformer_depth=[1, 0],
        transformer_depth_middle=-1,
        transformer_depth_output=[1, 0, 0, 0],
        operations=comfy.ops.disable_weight_init,
    )
    for i, parameter in enumerate(unet.parameters()):
        parameter.data = rand(*parameter.shape, seed=i) * 0.2
    compiled = torch.compile(unet, backend="eager", options={"guard_filter_fn": skip_torch_compile_dict})

    inputs = rand(1, 4, SIZE, SIZE), torch.tensor([500.0]), rand(1, 16, WIDTH)
    hints = {"hint_0": rand(1, 32, SIZE, SIZE), "hint_1": rand(1, 32, SIZE // 2, SIZE // 2)}
    outputs = []
    for strength in (0.3, 1.7):
        keywords = hints | {"reference_strength": torch.full((16,), strength), "transformer_options": {}}
        outputs.append(compiled(*inputs, **keywords))
        assert_golden(outputs[-1], unet(*inputs, **keywords))
    assert not torch.allclose(*outputs, atol=1e-3)

"""Guidance by reference and sketch: the host's own guiders at other scales, and what it costs."""

import pytest
import torch
from small import SIZE, rand


def test_reference_guidance_alone_is_the_stock_sampler_with_that_cfg(colorize, ksampler):
    assert torch.equal(colorize(), ksampler())


@pytest.mark.parametrize(("guidances", "rows"), [((1.0, 1.0), 1), ((4.0, 1.0), 2), ((1.0, 2.0), 2), ((4.0, 2.0), 3)])
def test_a_guidance_of_1_costs_nothing(model, colorize, guidances, rows):
    seen = []

    def count(apply_model, arguments):
        seen.append(len(arguments["input"]))
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    counted = model.clone()
    counted.set_model_unet_function_wrapper(count)
    settings = {"steps": 1, "reference_guidance": guidances[0], "sketch_guidance": guidances[1]}
    colorize(model=counted, **settings)
    assert sum(seen) == rows

    seen.clear()
    counted.set_model_sampler_post_cfg_function(lambda args: args["denoised"], disable_cfg1_optimization=True)
    colorize(model=counted, **settings)
    assert sum(seen) == max(rows, 2)  # the patch asks for an unconditional


def test_dual_guidance_is_the_stock_dual_guider_at_remapped_scales(
    node, core_node, model, tokens, sketch, condition, sample_noise, assert_golden
):
    positive, no_reference, no_sketch = condition(tokens(), sketch())
    ours = node("Guider").execute(model, positive, no_reference, no_sketch, 5.0, 3.0).result[0]
    stock = core_node("DualCFGGuider")(
        model=model,
        cond1=positive,
        cond2=no_sketch,
        negative=no_reference,
        cfg_conds=(5.0 + 3.0) / 2,
        cfg_cond2_negative=(1 + 5.0) / 2,
        style="regular",
    )[0]
    noise = rand(1, 4, SIZE, SIZE)
    assert_golden(sample_noise(ours, noise), sample_noise(stock, noise), 1e-3)

"""A LoRA of SD 2.1 that makes few steps enough, with the sampler and the schedule that it was made for."""

import torch
from few_steps import with_few_step_lora


def test_it_loads_whole_and_colors_in_four_steps_without_guidance(model, colorize, passes, caplog):
    settings = {"steps": 4, "reference_guidance": 1.0, "sampler_name": "lcm", "scheduler": "sgm_uniform"}
    plain = colorize(**settings)
    passes.clear()
    made = colorize(model=with_few_step_lora(model, caplog), **settings)
    assert len(passes) == 4 and all(len(rows) == 1 for rows in passes)
    assert torch.isfinite(made).all() and not torch.allclose(made, plain, atol=1e-2)

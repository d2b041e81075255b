"""The part of the run in which the reference counts."""

import pytest
import torch
from small import SIZE, rand


def test_an_interval_that_ends_before_it_starts_is_refused(condition, tokens, sketch):
    with pytest.raises(ValueError, match=r"start_percent \(0.8\) lies after end_percent \(0.2\)"):
        condition(tokens(), sketch(), start_percent=0.8, end_percent=0.2)


@pytest.mark.parametrize(("percents", "counts"), [((0.3, 0.6), True), ((0.6, 1.0), False), ((0.0, 0.4), False)])
def test_outside_its_interval_the_reference_is_zero(
    core_node, model, tokens, sketch, condition, percents, counts, assert_golden
):
    """One pass in the middle of the run."""
    import comfy.samplers

    sigma = model.get_model_object("model_sampling").percent_to_sigma(0.5)

    def one_pass(network, noise, sigmas, extra_args, callback, disable):
        return network(rand(1, 4, SIZE, SIZE), torch.tensor([sigma]), **extra_args)

    def denoised(conditioning):
        guider = core_node("BasicGuider")(model=model, conditioning=conditioning)[0]
        latent = torch.zeros(1, 4, SIZE, SIZE)
        return guider.sample(latent, latent, comfy.samplers.KSAMPLER(one_pass), torch.tensor([sigma, 0.0]))

    positive, no_reference, _ = condition(tokens(), sketch())
    limited = condition(tokens(), sketch(), *percents)[0]
    assert_golden(denoised(limited), denoised(positive if counts else no_reference))

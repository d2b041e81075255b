"""Timesteps between the steps of the host's schedule."""

import torch


def test_a_sigma_between_two_steps_has_a_timestep_between_them(model):
    sampling = model.get_model_object("model_sampling")
    t = torch.tensor([0.0, 0.25, 412.3, 931.0, 998.75, 999.0])
    torch.testing.assert_close(sampling.timestep(sampling.sigma(t)), t, atol=2e-3, rtol=0)
    beyond = torch.tensor([0.0, 1e-6, 1e6])
    assert sampling.timestep(beyond).tolist() == [0, 0, 999]
    assert sampling.timestep(sampling.sigma_max) == 999


def test_model_sampling_discrete_brings_its_own_timesteps(core_node, model):
    other = core_node("ModelSamplingDiscrete")(model=model, sampling="v_prediction", zsnr=False)[0]
    sampling = other.get_model_object("model_sampling")
    assert sampling.timestep(sampling.sigma(torch.tensor([412.3]))) == 412

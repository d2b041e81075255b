"""The host's discrete schedule with timesteps between its 1000 steps, as the published samplers have them."""

import comfy.model_base
import comfy.model_sampling
import torch


class ModelSamplingFractional(comfy.model_sampling.ModelSamplingDiscrete):
    """Timesteps linear in log sigma between the steps, as the samplers of k-diffusion; the host's own are rounded."""

    def timestep(self, sigma):
        log_sigmas = self.log_sigmas
        log_sigma = sigma.log().to(log_sigmas.device)
        low = (torch.searchsorted(log_sigmas, log_sigma, right=True) - 1).clamp(0, len(log_sigmas) - 2)
        fraction = (log_sigma - log_sigmas[low]) / (log_sigmas[low + 1] - log_sigmas[low])
        return (low + fraction.clamp(0, 1)).to(sigma.device)


class ModelSamplingEps(ModelSamplingFractional, comfy.model_sampling.EPS):
    pass


class ModelSamplingV(ModelSamplingFractional, comfy.model_sampling.V_PREDICTION):
    pass


MODEL_SAMPLINGS = {
    comfy.model_base.ModelType.EPS: ModelSamplingEps,
    comfy.model_base.ModelType.V_PREDICTION: ModelSamplingV,
}

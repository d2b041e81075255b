"""Every test here runs as ComfyUI runs its nodes, most on the small v1 model."""

import pytest
import torch
from small import SIZE, STEPS, WIDTH, GivenVAE, empty_latent, rand


@pytest.fixture(autouse=True)
def _inference_mode():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def model(pack, host, tiny_checkpoint):
    """The small golden model as LoadCheckpoint gives it."""
    with torch.inference_mode():
        return host.NODE_CLASS_MAPPINGS["ColorizeDiffusion_LoadCheckpoint"].execute(tiny_checkpoint).result[0]


@pytest.fixture
def tokens(pack):
    """`tokens(seed, batch)`: reference tokens of random content."""
    build = pack.colorize_core.tokens.ReferenceTokens
    return lambda seed=0, batch=1: build(cls=rand(batch, 1, WIDTH, seed=seed), local=rand(batch, 16, WIDTH, seed=seed))


@pytest.fixture
def sketch(pack):
    """`sketch(seed, batch, size)`: a sketch of random dots; `size` is the latent's."""

    def build(seed=0, batch=1, size=SIZE, strength=1.0):
        pixels = (rand(batch, 3, 8 * size, 8 * size, seed=100 + seed) > 1).float() * 2 - 1
        return pack.colorize_core.sketch.Sketch(pixels, strength)

    return build


@pytest.fixture
def condition(node):
    """`condition(tokens, sketch)`: positive, no_reference, no_sketch."""
    return lambda *args, **kwargs: node("Conditioning").execute(*args, **kwargs).result


@pytest.fixture
def colorize(node, model, tokens, sketch):
    """`colorize(...)`: the Colorize node's latent, with small defaults for what is not given."""

    def run(**inputs):
        defaults = {
            "model": model,
            "tokens": tokens(),
            "sketch": sketch(),
            "latent": empty_latent(),
            "seed": 1,
            "steps": STEPS,
            "reference_guidance": 4.0,
            "sketch_guidance": 1.0,
            "sampler_name": "euler",
            "scheduler": "normal",
            "denoise": 1.0,
        }
        return node("Sampler").execute(**defaults | inputs).result[0]["samples"]

    return run


@pytest.fixture
def ksampler(core_node, model, condition, tokens, sketch):
    """`ksampler(model, ...)`: the stock KSampler's latent on our conditioning; `size` is the latent's."""

    def run(model=model, size=SIZE, **inputs):
        positive, no_reference, _ = condition(tokens(), sketch(size=size))
        defaults = {
            "model": model,
            "seed": 1,
            "steps": STEPS,
            "cfg": 4.0,
            "sampler_name": "euler",
            "scheduler": "normal",
            "positive": positive,
            "negative": no_reference,
            "latent_image": empty_latent(size=size),
        }
        return core_node("KSampler")(**defaults | inputs)[0]["samples"]

    return run


@pytest.fixture
def sample_noise(model, core_node):
    """`sample_noise(guider, noise)`: sampled from this very noise, to compare batches with single runs."""

    def run(guider, noise):
        import comfy.samplers

        sigmas = core_node("BasicScheduler")(model=model, scheduler="normal", steps=STEPS, denoise=1.0)[0]
        return guider.sample(noise, torch.zeros_like(noise), comfy.samplers.sampler_object("euler"), sigmas, seed=1)

    return run


@pytest.fixture
def inject(node, model):
    """`inject(...)`: Reference Injection's model, with small defaults for what is not given."""

    def run(**inputs):
        defaults = {
            "model": model,
            "vae": GivenVAE(rand(1, 4, SIZE, SIZE, seed=7) * 5),
            "image": torch.rand(1, 64, 64, 3),
            "style_fidelity": 0.5,
            "sketch_fidelity": 0.0,
            "start_percent": 0.0,
        }
        return node("ReferenceInjection").execute(**defaults | inputs).result[0]

    return run


@pytest.fixture
def passes(monkeypatch):
    """Latents [B,4,h,w] that went through the host's UNet, in order."""
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    seen, forward = [], UNetModel._forward

    def count(self, x, *args, **kwargs):
        seen.append(x)
        return forward(self, x, *args, **kwargs)

    monkeypatch.setattr(UNetModel, "_forward", count)
    return seen

"""XL's goldens through the MODEL, tokens and conditionings that the pack's nodes make."""

import pytest
import torch
from golden_xl import GoldenXL, StandInVAE
from safetensors.torch import save_file
from small import GivenVAE, raw_eps


@pytest.fixture(scope="module", params=["tiny_xl", "tiny_xlv2"])
def xl(request, goldens) -> GoldenXL:
    path = goldens / f"{request.param}.json"
    if not path.exists():
        pytest.skip(f"{goldens} has no {request.param}")
    return GoldenXL(path)


@pytest.fixture(scope="module")
def nodes(pack, host):
    """`nodes("LoadCheckpoint", ...)`: the outputs of one of the pack's nodes, also for fixtures of a module."""

    def run(name, *args, **inputs):
        with torch.inference_mode():
            return host.NODE_CLASS_MAPPINGS[f"ColorizeDiffusion_{name}"].execute(*args, **inputs).result

    return run


@pytest.fixture(scope="module")
def checkpoint_name(xl, models_dir) -> str:
    name = f"{xl.variant}-tiny-eps.safetensors"
    save_file(xl.checkpoint(), models_dir / "checkpoints" / name, xl.metadata())
    return name


@pytest.fixture(scope="module")
def model(nodes, checkpoint_name):
    return nodes("LoadCheckpoint", checkpoint_name)[0]


@pytest.fixture(scope="module")
def towers(nodes, xl, models_dir, checkpoint_name) -> dict:
    """CLIP and tagger, as Encode Reference takes them."""
    clip_name = f"{xl.variant}-tiny-clip.safetensors"
    save_file(xl.part("clip."), models_dir / "clip_vision" / clip_name, xl.clip_metadata())
    (tagger,) = nodes("LoadTagger", checkpoint_name)
    return {"clip_vision": nodes("LoadCLIP", clip_name)[0], "tagger": tagger}


@pytest.fixture(scope="module")
def tokens(nodes, xl, towers):
    """The golden's reference."""
    return nodes("EncodeReference", image=xl.image("reference"), **towers)[0]


@pytest.fixture
def condition(nodes, xl, tokens):
    """`condition(tokens=..., sketch=..., **EncodeSketch's)`: positive, no_reference, no_sketch."""

    def build(tokens=tokens, sketch="sketch", strength=1.0, **options):
        (encoded,) = nodes("EncodeSketch", xl.image(sketch), strength, **options)
        return nodes("Conditioning", tokens, encoded)

    return build


@pytest.fixture
def predict(host, xl):
    """`predict(guider)`: what the guided model predicts for the golden's `x`, as a raw eps; at timesteps `t`."""

    def run(guider, t=xl["t"]):
        sigmas = guider.model_patcher.get_model_object("model_sampling").sigma(t.float())
        return raw_eps(guider, xl["x"], sigmas, seed=5)

    return run


@pytest.fixture
def eps(core_node, predict):
    """`eps(model, conditioning)`: the same without guidance."""
    return lambda model, conditioning, **options: predict(
        core_node("BasicGuider")(model=model, conditioning=conditioning)[0], **options
    )


@pytest.fixture
def inject(pack, nodes, xl, model):
    """`inject(fidelity, control)`: the model with the golden's injection, for noise of seed 5."""

    def patch(fidelity, control):
        injected = xl["injected_latent"]
        sigma = model.get_model_object("model_sampling").sigma(xl["t"][:1].float())
        noise = pack.colorize_core.host.injection.make_noise(injected, seed=5)
        latent = injected * (1 + sigma**2) ** 0.5 - sigma * noise  # such that noised, it is the published one
        picture = xl.image("injected_picture")
        (negative,) = nodes("EncodeSketch", 1 - picture, 1.0)  # the published app takes it for the picture's sketch
        vae = GivenVAE(model.model.process_latent_out(latent))
        return nodes("ReferenceInjection", model, vae, picture, fidelity, control, 0.0, negative)[0]

    return patch


@pytest.fixture
def with_figure(nodes, xl, model, towers, tokens):
    """`with_figure(picture, removed, reads, **options)`: the golden's tokens with its masks and its background.

    `picture` is a background of its own, `removed` with its figure painted over; with `reads` the VAE reads it.
    """

    def make(picture=False, removed=False, reads=True, **options):
        height, width = (side // 8 for side in xl.config["hw"])
        defaults = {"foreground_strength": 1.0, "background_strength": 1.0, "merging": 0.0, "sketch_threshold": 0.6}
        masks = {"sketch_mask": xl["mask"][:, 0], "reference_mask": xl["reference_mask"][:, 0]}
        if picture:
            masks["background"] = xl.image("background")
        if removed:
            masks["background_mask"] = xl["background_mask"][:, 0]
        if reads and xl.variant == "xlv2":
            masks |= {"vae": StandInVAE(model), "latent": {"samples": torch.zeros(1, 4, height, width)}}
        enhances = {"background_enhance": True, "foreground_enhance": False, "style_enhance": False}
        inputs = enhances | defaults | options | masks | towers
        return nodes("FigureAndBackground", tokens, reference=xl.image("reference"), **inputs)[0]

    return make

"""XL through the nodes: base (`sdxl`) and with a background encoder (`xlv2`), against the published implementation."""

import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from weights import tensor_for

HEADS = {"num_head_channels": "hd", "sketch_head_channels": "sketch_dim_head", "mixer_head_channels": "proj_dim_head"}
PREFIX = "model.diffusion_model."


class GoldenXL:
    """A golden: its configuration, its tensors (pictures as -1..1, masks as 0..1), and seeded weights."""

    def __init__(self, path):
        described = json.loads(path.read_text())
        self.config = described["config"]
        self.weights = {key: tensor_for(key, shape) for key, shape in described["weights"].items()}
        tensors = load_file(path.with_suffix(".safetensors"))
        self.tensors = {key: _values(key, tensor) for key, tensor in tensors.items()}

    def __getitem__(self, key: str) -> torch.Tensor:
        return self.tensors[key]

    @property
    def variant(self) -> str:
        return self.config["variant"]

    def image(self, key: str) -> torch.Tensor:
        """A picture as the host's IMAGE."""
        return (self.tensors[key].movedim(1, -1) + 1) / 2

    def part(self, prefix: str) -> dict[str, torch.Tensor]:
        """The weights under a prefix, without it."""
        return {key.removeprefix(prefix): value for key, value in self.weights.items() if key.startswith(prefix)}

    def checkpoint(self) -> dict[str, torch.Tensor]:
        """The weights as a published file holds them, the tagger among them."""
        return {key: value for key, value in self.weights.items() if not key.startswith("clip.")}

    def metadata(self) -> dict[str, str]:
        """What the shapes of a checkpoint this small cannot tell."""
        return {"colorize_diffusion_config": json.dumps({key: self.config[name] for key, name in HEADS.items()})}

    def clip_metadata(self) -> dict[str, str]:
        """open_clip's `model_cfg` of the image tower, with a text tower that the file need not have."""
        shape, patch = self.config["clip"], self.weights["clip.visual.conv1.weight"].shape[-1]
        vision = {"image_size": 224, "layers": shape["layers"], "width": shape["width"], "head_width": shape["head"]}
        text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
        model = {"embed_dim": shape["embed"], "vision_cfg": vision | {"patch_size": patch}, "text_cfg": text}
        return {"open_clip_config": json.dumps(model)}


def _values(key: str, tensor: torch.Tensor) -> torch.Tensor:
    if tensor.dtype != torch.uint8:
        return tensor
    return tensor / 255 if "mask" in key else tensor / 127.5 - 1


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
    import comfy.samplers

    def run(guider, t=xl["t"]):
        sigmas = guider.model_patcher.get_model_object("model_sampling").sigma(t.float())
        rows = sigmas[:, None, None, None]
        noisy = xl["x"] * (1 + rows**2) ** 0.5

        def one_pass(model, noise, steps, extra_args, callback, disable):
            return (noisy - model(noisy, sigmas, **extra_args)) / rows

        latent = torch.zeros_like(noisy)
        out = guider.sample(latent, latent, comfy.samplers.KSAMPLER(one_pass), sigmas, seed=5)
        return guider.model_patcher.model.process_latent_in(out)

    return run


@pytest.fixture
def eps(core_node, predict):
    """`eps(model, conditioning)`: the same without guidance."""
    return lambda model, conditioning, **options: predict(
        core_node("BasicGuider")(model=model, conditioning=conditioning)[0], **options
    )


# From pictures to what the model takes


def test_both_towers_see_the_reference_as_published(xl, tokens, assert_golden):
    assert_golden(torch.cat([tokens.cls, tokens.local], dim=1), xl["clip.tokens"])
    assert_golden(tokens.tagger, xl["wd.tokens"])


def test_the_tagger_is_given_the_published_pixels(pack, xl, assert_golden):
    pixels = pack.colorize_core.tagger.preprocess_for_tagger(xl.image("reference"))
    assert_golden(pixels[:, :, ::16, ::16], xl["wd.input_every16th"])


def test_the_sketch_encoder_gives_the_published_hints(xl, model, assert_golden):
    encoder = model.model.diffusion_model.control_encoder
    for name, sketch in ("hints", xl["sketch"]), ("blank_hints", torch.full_like(xl["sketch"], -1)):
        for k, hint in enumerate(encoder(sketch)):
            assert_golden(hint, xl[f"{name}.{k}"])


def test_the_token_mixer_gives_the_published_context(xl, model, assert_golden):
    assert_golden(model.model.diffusion_model.proj(xl["clip.tokens"], xl["wd.tokens"]), xl["context"])


def test_sizes_are_told_as_published(pack, xl, assert_golden):
    embeddings, config = pack.colorize_core.networks.embeddings, xl.config
    assert_golden(embeddings.canvas_embedding(*config["hw"]), xl["y"])
    if xl.variant == "xlv2":
        for name, size in ("bg_encoder.y", "refhw"), ("bg_encoder.y.background_picture", "bghw"):
            assert_golden(embeddings.background_embedding(config[size], config["hw"]), xl[name])


# One pass


def test_eps_with_sketch_and_reference(xl, model, condition, eps, assert_golden):
    positive, no_reference, no_sketch = condition()
    assert_golden(eps(model, positive), xl["eps"])
    assert_golden(eps(model, no_reference), xl["eps.no_reference"])
    assert_golden(eps(model, no_sketch), xl["eps.no_sketch"])


def test_a_zeroed_conditioning_and_none_are_a_dropped_reference(xl, model, condition, core_node, eps, assert_golden):
    positive, *_ = condition()
    (zeroed,) = core_node("ConditioningZeroOut")(conditioning=positive)
    assert_golden(eps(model, zeroed), xl["eps.no_reference"])
    assert_golden(eps(model, [[None, positive[0][1]]]), xl["eps.no_reference"])


def test_each_sketch_strength_scales_its_map(xl, model, condition, eps, assert_golden):
    expected = xl["eps.sketch_strengths_0.6_1.4_0.3_0.9"]
    assert_golden(eps(model, condition(per_scale="0.6, 1.4, 0.3, 0.9")[0]), expected)
    assert_golden(eps(model, condition(strength=2.0, per_scale="0.3 0.7 0.15 0.45")[0]), expected)


def test_another_count_of_sketch_strengths_is_refused(model, condition, eps):
    with pytest.raises(ValueError, match="per_scale has 3 numbers: this model takes 4"):
        eps(model, condition(per_scale="1, 1, 1")[0])
    with pytest.raises(ValueError, match="per_scale: could not convert"):
        condition(per_scale="1, much")


STRENGTHS = [
    ("sdxl", {"strength": 0.55}, "eps.reference_strength_0.55"),
    ("sdxl", {"strength": 0.55, "encoder": 0.6}, "eps.reference_strength_0.55_encoder_0.6"),
    ("sdxl", {"strength": 1.0, "color": 0.3, "semantics": 0.3}, "eps"),
    ("xlv2", {"strength": 1.0, "encoder": 0.55, "semantics": 0.55}, "eps.reference_strength_0.55"),  # the app's levels
    ("xlv2", {"strength": 1.0, "encoder": 0.8, "semantics": 0.3}, "eps.levels_enc0.8_low0.3"),
    ("xlv2", {"strength": 1.0, "color": 0.3}, "eps"),
]


@pytest.mark.parametrize(("variant", "strengths", "name"), STRENGTHS)
def test_levels_of_reference_strength(xl, model, nodes, condition, eps, assert_golden, variant, strengths, name):
    if xl.variant != variant:
        pytest.skip("the other variant's levels")
    (patched,) = nodes("ReferenceStrength", model, **strengths)
    assert_golden(eps(patched, condition()[0]), xl[name])


def test_every_one_of_70_blocks_has_its_reference_strength(xl, model, nodes, condition, eps, assert_golden):
    per_block = ", ".join(map(str, torch.linspace(0.05, 0.95, 70).tolist()))
    (patched,) = nodes("ReferenceStrength", model, 1.0, per_block=per_block)
    assert_golden(eps(patched, condition()[0]), xl["eps.per_block_linspace_0.05_0.95"])
    with pytest.raises(ValueError, match="per_block has 16 numbers: this model takes 70"):
        nodes("ReferenceStrength", model, 1.0, per_block="1 " * 16)


@pytest.mark.parametrize(("guidances", "name"), [((True, False), "reference"), ((False, True), "sketch"), (2, "dual")])
def test_guidance(xl, model, nodes, condition, predict, assert_golden, guidances, name):
    reference, sketch = xl.config["g"]
    scales = (reference, sketch) if guidances == 2 else (reference if guidances[0] else 1.0, sketch * guidances[1] or 1)
    (guider,) = nodes("Guider", model, *condition(), *scales)
    assert_golden(predict(guider), xl[f"cfg.{name}"])


class GivenVAE:
    """Encodes any picture to one latent."""

    def __init__(self, latent):
        self.latent = latent

    def encode(self, pixels):
        return self.latent


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


def assert_rows(xl, eps, assert_golden, model, conditionings, name):
    """Row 0 of the golden has the reference and row 1 has not, both at the first timestep."""
    for row, conditioning in enumerate(conditionings[:2]):
        actual = eps(model, conditioning, t=xl["t"][:1].repeat(2))[row : row + 1]
        assert_golden(actual, xl[name][row : row + 1])


@pytest.mark.parametrize(("fidelity", "control"), [(0.3, 0.7), (0.5, 0.0)])
def test_injection(xl, inject, condition, eps, assert_golden, fidelity, control):
    name = f"eps.injection_f{fidelity}_ctl{control}"
    assert_rows(xl, eps, assert_golden, inject(fidelity, control), condition(), name)


# Figure and background ("low-level injection")


class StandInVAE:
    """The goldens' VAE: its latent, as the networks see it, is the means of 8x8 pixels' colors and their mean."""

    def __init__(self, model):
        self.model = model.model

    def encode(self, pixels):
        means = F.avg_pool2d(pixels.movedim(-1, 1) * 2 - 1, 8)
        return self.model.process_latent_out(torch.cat([means, means.mean(dim=1, keepdim=True)], dim=1))


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


def test_the_sketch_mask_on_the_latent_is_the_published_one(pack, xl, assert_golden):
    mask = pack.colorize_core.figure.nearest_latent_mask(xl["mask"][:, 0], *xl["mask.latent"].shape[2:])
    assert_golden(mask, xl["mask.latent"])


@pytest.mark.parametrize(("picture", "name"), [(False, "from_reference"), (True, "picture")])
def test_the_background_is_mixed_as_published(xl, model, with_figure, assert_golden, picture, name):
    figure = with_figure(picture=picture).figure
    clip = torch.cat([figure.background_cls, figure.background_local], dim=1)
    mixed = model.model.diffusion_model.proj(clip, figure.background_tagger)
    assert_golden(mixed, xl[f"context.background_{name}"])


def test_the_background_encoder_gives_the_published_bank(xl, model, assert_golden):
    if xl.variant != "xlv2":
        pytest.skip("the other variant has no background encoder")
    bank = model.model.diffusion_model.bg_encoder(xl["bg_encoder.input"], xl["bg_encoder.y"])
    stored = [name for name in xl.tensors if name.startswith("bg_encoder.bank.")]
    assert len(bank) == 36 and stored
    for name in stored:
        assert_golden(bank[int(name.rpartition(".")[2])], xl[name])


@pytest.mark.parametrize(("picture", "name"), [(False, ""), (True, ".background_picture")])
def test_the_background_encoder_is_given_the_published_input(
    xl, model, core_node, with_figure, condition, eps, assert_golden, picture, name
):
    if xl.variant != "xlv2":
        pytest.skip("the other variant has no background encoder")
    calls = []
    hook = model.model.diffusion_model.bg_encoder.register_forward_hook(lambda _, inputs, __: calls.append(inputs))
    try:
        eps(model, condition(with_figure(picture=picture))[0])
    finally:
        hook.remove()
    ((picture_and_masks, size),) = calls
    assert_golden(picture_and_masks, xl[f"bg_encoder.input{name}"])
    assert_golden(size, xl[f"bg_encoder.y{name}"])


BACKGROUNDS = {
    "background_thr0.6": {},
    "background_thr0.05": {"sketch_threshold": 0.05},
    "background_fg0.9_bg0.7_merge0.25_thr0.6": {
        "foreground_strength": 0.9,
        "background_strength": 0.7,
        "merging": 0.25,
    },
    "background_fg0.9_bg0.7_merge0_thr0.6": {"foreground_strength": 0.9, "background_strength": 0.7},
    "background_picture_thr0.6": {"picture": True},
    "background_picture_removed_thr0.6": {"picture": True, "removed": True},
    "latent_copy_thr0.6": {"picture": True, "reads": False},
}


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_figure_and_background(xl, model, with_figure, condition, eps, assert_golden, name):
    tokens = with_figure(**BACKGROUNDS[name])
    rows = zip(("", "_no_reference", "_no_sketch"), condition(tokens), strict=True)
    for row, conditioning in rows:
        if f"eps.{name}{row}" in xl.tensors:
            assert_golden(eps(model, conditioning), xl[f"eps.{name}{row}"])


def test_reference_strength_reaches_figure_and_background(xl, model, nodes, with_figure, condition, eps, assert_golden):
    levels = {"strength": 0.55} if xl.variant == "sdxl" else {"strength": 1.0, "encoder": 0.55, "semantics": 0.55}
    (patched,) = nodes("ReferenceStrength", model, **levels)
    assert_golden(eps(patched, condition(with_figure())[0]), xl["eps.background_strength0.55_thr0.6"])


def test_an_injection_takes_the_place_of_the_backgrounds_bank(xl, inject, with_figure, condition, eps, assert_golden):
    if xl.variant != "xlv2":
        pytest.skip("the other variant has no bank")
    name = "eps.background_injection_f0.5_ctl0.0_thr0.6"
    assert_rows(xl, eps, assert_golden, inject(0.5, 0.0), condition(with_figure()), name)


def test_the_bank_is_made_once_for_a_run(xl, model, nodes, with_figure, condition, monkeypatch):
    """And not again for each of the conditionings, nor at any step."""
    if xl.variant != "xlv2":
        pytest.skip("the other variant has no bank")
    calls = []
    hook = model.model.diffusion_model.bg_encoder.register_forward_hook(lambda *_: calls.append(1))
    latent = {"samples": torch.zeros(1, 4, *(side // 8 for side in xl.config["hw"]))}
    (sketch,) = nodes("EncodeSketch", xl.image("sketch"), 1.0)
    try:
        nodes("Sampler", model, with_figure(), sketch, latent, 1, 2, 4.0, 1.5, "euler", "normal", 1.0)
    finally:
        hook.remove()
    assert len(calls) == 1


def test_a_bank_needs_the_figures_mask(xl, model, nodes, with_figure, condition, eps):
    if xl.variant != "xlv2":
        pytest.skip("the other variant has no bank")
    tokens = with_figure(picture=True)
    unmasked = replace(tokens, figure=replace(tokens.figure, picture_mask=None))
    with pytest.raises(ValueError, match="reference_mask: XL v2 reads the background together with the mask"):
        eps(model, condition(unmasked)[0])


def test_a_figure_needs_the_tagger_too(model, with_figure, condition, eps):
    tokens = with_figure()
    wide = {name: getattr(tokens.figure, name).repeat(1, 1, 2) for name in ("background_cls", "background_local")}
    plain = replace(tokens, figure=replace(tokens.figure, **wide, background_tagger=None))  # no width of a context
    with pytest.raises(ValueError, match="background: XL looks at a reference through a tagger too"):
        eps(model, condition(plain)[0])


@pytest.mark.parametrize("option", ["foreground_enhance", "style_enhance"])
def test_what_xl_does_not_have_is_said(model, with_figure, condition, eps, option):
    tokens = with_figure()
    with pytest.raises(ValueError, match=f"{option}: ColorizeDiffusion XL.* does not have it"):
        eps(model, condition(replace(tokens, figure=replace(tokens.figure, **{option: True})))[0])


def test_the_latent_copy_of_the_published_app_by_stock_nodes(
    xl, model, core_node, with_figure, condition, assert_golden
):
    """Crop, scale, encode, and a noise mask; the core scales without antialiasing, or by Lanczos, which is closest."""
    height, width = xl.config["hw"]
    picture_height, picture_width = xl.config["bghw"]
    scale = min(picture_width / width, picture_height / height)
    (cropped,) = core_node("ImageCrop")(
        image=xl.image("background"), width=int(scale * width), height=int(scale * height), x=0, y=0
    )
    (scaled,) = core_node("ImageScale")(
        image=cropped, upscale_method="lanczos", width=width, height=height, crop="disabled"
    )
    latent = StandInVAE(model).encode(scaled)
    assert_golden(model.model.process_latent_in(latent), xl["latent_copy.latent"], 0.1)

    (masked,) = core_node("SetLatentNoiseMask")(samples={"samples": latent}, mask=(xl["mask"][:, 0] > 0.6).float())
    positive, no_reference, _ = condition(with_figure(picture=True, reads=False))
    (out,) = core_node("KSampler")(
        model=model,
        seed=1,
        steps=2,
        cfg=4.0,
        sampler_name="euler",
        scheduler="normal",
        positive=positive,
        negative=no_reference,
        latent_image=masked,
        denoise=1.0,
    )
    outside = F.interpolate((xl["mask"] > 0.6).float(), latent.shape[2:], mode="area").expand_as(latent) == 0
    assert torch.allclose(out["samples"][outside], latent[outside], atol=1e-4)
    assert not torch.allclose(out["samples"], latent, atol=0.1)


# Whole runs


@pytest.mark.parametrize("prediction", ["eps", "v"])
@pytest.mark.parametrize("dual", [False, True])
def test_whole_runs(xl, nodes, checkpoint_name, with_figure, condition, assert_golden, prediction, dual):
    import comfy.samplers

    model = nodes("LoadCheckpoint", checkpoint_name, prediction)[0]
    reference, sketch = xl.config["g"]
    conditionings = condition() if xl.variant == "sdxl" else condition(with_figure())
    (guider,) = nodes("Guider", model, *conditionings, reference, sketch if dual else 1.0)
    sigmas, noise = xl["sample.sigmas"], xl["noise"]
    # The host starts from a larger noise where the first sigma is the schedule's largest.
    largest = model.get_model_object("model_sampling").sigma_max
    if torch.isclose(sigmas[0], largest, rtol=1e-5):
        noise = noise * sigmas[0] / (1 + sigmas[0] ** 2) ** 0.5
    out = guider.sample(noise, torch.zeros_like(noise), comfy.samplers.sampler_object("euler"), sigmas)
    name = f"dual{reference}_{sketch}" if dual else f"cfg{reference}"
    out = guider.model_patcher.model.process_latent_in(out)
    background = "" if xl.variant == "sdxl" else ".background"
    assert_golden(out, xl[f"sample.{prediction}.euler.uniform.4.{name}{background}"], 1e-3)


# What the tokens may be


def test_tokens_without_a_tagger_are_refused(nodes, xl, model, towers, condition, eps):
    (plain,) = nodes("EncodeReference", towers["clip_vision"], xl.image("reference"))
    if plain.local.shape[-1] == xl.config["ctx"]:  # these would do for a context
        plain = replace(plain, cls=plain.cls.repeat(1, 1, 2), local=plain.local.repeat(1, 1, 2))
    with pytest.raises(ValueError, match="conditioning: XL looks at a reference through a tagger too"):
        eps(model, condition(plain)[0])


def test_tokens_of_other_towers_are_refused(pack, xl, model, tokens, condition, eps):
    half = replace(tokens, cls=tokens.cls[..., :32], local=tokens.local[..., :32])
    with pytest.raises(ValueError, match=r"its tokens are 32 wide.*with the CLIP that belongs"):
        eps(model, condition(half)[0])
    with pytest.raises(ValueError, match=r"its tokens are 32 wide.*with the tagger that belongs"):
        eps(model, condition(replace(tokens, tagger=tokens.tagger[..., :32]))[0])


def test_words_do_not_change_a_reference_with_a_tagger(nodes, tokens, tiny_clip):
    clip = nodes("LoadCLIP", tiny_clip)[1]
    with pytest.raises(ValueError, match="tokens: they were made with a tagger, for XL"):
        nodes("GlobalText", tokens, clip, "red hair", "", 5.0, False, "penultimate")


def test_a_region_has_a_reference_of_two_towers_too(xl, model, nodes, tokens, towers, condition, eps, assert_golden):
    (other,) = nodes("EncodeReference", image=xl.image("background"), **towers)
    height, width = xl.config["hw"]
    everywhere, half = torch.ones(1, height, width), torch.zeros(1, height, width)
    half[..., width // 2 :] = 1
    (whole,) = nodes("RegionReference", tokens, other, everywhere, 1.0)
    (part,) = nodes("RegionReference", tokens, other, half, 1.0)
    alone = eps(model, condition(other)[0])
    assert_golden(eps(model, condition(whole)[0]), alone)
    shared = eps(model, condition(part)[0])
    assert (shared - alone).abs().max() > 0.01 and (shared - xl["eps"]).abs().max() > 0.01
    assert_golden(eps(model, condition(part)[1]), xl["eps.no_reference"])


# Files


@pytest.fixture
def opens(nodes, models_dir):
    """`opens(state_dict, name)`: MODEL and VAE of a file in models/checkpoints with these weights, by our node."""

    def run(state_dict, name="xl-under-test.safetensors", metadata=None):
        save_file(state_dict, models_dir / "checkpoints" / name, metadata)
        return nodes("LoadCheckpoint", name)

    return run


def test_a_saved_model_opens_without_metadata_by_either_loader(
    xl, model, core_node, models_dir, condition, eps, assert_golden, tmp_path
):
    import comfy_extras.nodes_model_merging as merging

    merging.save_checkpoint(model, filename_prefix="saved-eps", output_dir=str(tmp_path))
    (saved,) = tmp_path.glob("*.safetensors")
    weights = load_file(saved)
    published = {key for key in xl.checkpoint() if not key.startswith("img_embedder.") and "conv_fg" not in key}
    assert set(weights) - {"colorize_head_channels"} == published
    name = f"saved-{xl.variant}.safetensors"
    save_file(weights, models_dir / "checkpoints" / name)
    (opened, *_) = core_node("CheckpointLoaderSimple")(ckpt_name=name)
    assert type(opened.model.model_config) is type(model.model.model_config)
    positive, *_ = condition()
    out = eps(opened, positive)  # nothing in the file tells eps from v: XL is v
    sigmas = opened.get_model_object("model_sampling").sigma(xl["t"].float())[:, None, None, None]
    noisy = xl["x"] * (1 + sigmas**2) ** 0.5
    denoised = noisy / (1 + sigmas**2) - xl["eps"] * sigmas / (1 + sigmas**2) ** 0.5
    assert_golden(out, (noisy - denoised) / sigmas)


def test_a_file_in_half_precision_is_its_weights_rounded(xl, opens, condition, eps):
    half = {key: value.half() for key, value in xl.checkpoint().items()}
    (rounded, *_) = opens({key: value.float() for key, value in half.items()}, "eps-rounded.safetensors", xl.metadata())
    (model, *_) = opens(half, "eps-half.safetensors", xl.metadata())
    positive, *_ = condition()
    assert torch.equal(eps(model, positive), eps(rounded, positive))


def test_it_is_an_sdxl_to_latents_and_previews(model):
    import comfy.latent_formats

    assert isinstance(model.model.latent_format, comfy.latent_formats.SDXL)
    assert model.model.latent_format.scale_factor == 0.13025


def sdxl_shapes(vector: int) -> dict[str, torch.Tensor]:
    """SDXL's UNet in its published size, without memory, conditioned on a vector of that many channels."""
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    unet = UNetModel(
        image_size=32,
        in_channels=4,
        out_channels=4,
        model_channels=320,
        num_res_blocks=[2, 2, 2],
        channel_mult=[1, 2, 4],
        num_classes="sequential",
        adm_in_channels=vector,
        num_head_channels=64,
        use_spatial_transformer=True,
        transformer_depth=[0, 0, 2, 2, 10, 10],
        transformer_depth_middle=10,
        transformer_depth_output=[0, 0, 0, 2, 2, 2, 10, 10, 10],
        context_dim=2048,
        use_linear_in_transformer=True,
        legacy=False,
        device="meta",
    )
    return {PREFIX + key: value for key, value in unet.state_dict().items()}


def test_plain_sdxl_is_the_hosts_and_xl_is_ours(pack, xl):
    import comfy.model_detection
    import comfy.supported_models

    def detected(state_dict):
        return comfy.model_detection.model_config_from_unet(state_dict, PREFIX)

    assert type(detected(sdxl_shapes(2816))) is comfy.supported_models.SDXL
    ours = {key: value.to("meta") for key, value in xl.checkpoint().items() if not key.startswith(PREFIX)}
    assert detected(sdxl_shapes(512)) is None
    found = detected(sdxl_shapes(512) | ours | {key: xl.weights[key] for key in xl.weights if ".lora_" in key})
    assert found.version.name == {"sdxl": "XL", "xlv2": "XL v2"}[xl.variant]
    assert type(detected(sdxl_shapes(2816))) is comfy.supported_models.SDXL


@pytest.mark.parametrize(
    "key",
    [
        "control_encoder.zero_layer.0.weight",
        "proj.transformer.layers.0.weight",
        "proj.mlp.0.weight",
        "fg_encoder.input_blocks.0.0.weight",
        f"{PREFIX}map_modules.0.weight",
        f"{PREFIX}warp_modules.0.norm1.weight",
        f"{PREFIX}style_modules.0.0.weight",
        f"{PREFIX}input_blocks.4.1.transformer_blocks.0.attn2.to_q.lora_down_foreground.weight",
    ],
)
def test_layouts_that_nobody_published_are_refused_by_name(xl, opens, key):
    with pytest.raises(ValueError, match=r"xl-under-test\.safetensors is an XL checkpoint with .* not supported"):
        opens(xl.checkpoint() | {key: torch.zeros(1)}, metadata=xl.metadata())


def test_what_does_not_fit_together_is_refused(xl, opens):
    with pytest.raises(ValueError, match="its size conditioning has 2816 channels where that of XL has 512"):
        opens(xl.checkpoint() | {f"{PREFIX}label_emb.0.0.weight": torch.zeros(128, 2816)}, metadata=xl.metadata())
    with pytest.raises(ValueError, match="sketch_head_channels is missing, and 128 does not divide"):
        opens(xl.checkpoint() | narrow(xl))
    weights = xl.checkpoint()
    del weights["control_encoder.attn_layer.q_norm.weight"]
    with pytest.raises(ValueError, match=r"control_encoder\.attn_layer\.q_norm\.weight"):
        opens(weights, metadata=xl.metadata())


def narrow(xl) -> dict[str, torch.Tensor]:
    """The sketch encoder's query at a width that no head of 128 divides."""
    return {"control_encoder.attn_layer.to_q.weight": torch.zeros(96, 96)}


def test_cls_tokens_are_refused(nodes, checkpoint_name):
    with pytest.raises(ValueError, match=r"token_type: .* is an XL checkpoint"):
        nodes("LoadCheckpoint", checkpoint_name, "auto", "cls")


# The rest of ComfyUI


@pytest.mark.parametrize(
    "key",
    [
        "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_v",
        "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_v",
    ],
)
def test_loras_of_sdxl_change_the_picture(xl, model, condition, eps, key):
    import comfy.sd

    width = xl.weights[f"{PREFIX}input_blocks.4.1.transformer_blocks.0.attn2.to_v.weight"].shape
    lora = {f"{key}.lora_up.weight": torch.ones(width[0], 1), f"{key}.lora_down.weight": torch.ones(1, width[1])}
    patched, _ = comfy.sd.load_lora_for_models(model, None, lora, 1.0, 0.0)
    positive, *_ = condition()
    assert (eps(patched, positive) - xl["eps"]).abs().max() > 1e-3


def test_a_control_net_of_sdxl_is_told_what_sdxl_is(xl, model, core_node, condition, eps):
    """Its vector has 2816 channels; XL's own has 512."""
    import comfy.cldm.cldm
    import comfy.controlnet
    import comfy.ops

    config = {key: value for key, value in model.model.model_config.unet_config.items() if key != "out_channels"}
    config |= {"hint_channels": 3, "adm_in_channels": 2816, "dtype": torch.float32}
    network = comfy.cldm.cldm.ControlNet(**config, operations=comfy.ops.disable_weight_init)
    for name, parameter in network.named_parameters():
        parameter.data = tensor_for(name, list(parameter.shape)) * 0.2
    seen = []
    network.label_emb.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    height, width = xl.config["hw"]
    positive, negative, _ = condition()
    positive, _ = core_node("ControlNetApplyAdvanced")(
        positive=positive,
        negative=negative,
        control_net=comfy.controlnet.ControlNet(network, load_device=torch.device("cpu")),
        image=torch.rand(1, height, width, 3),
        strength=1.0,
        start_percent=0.0,
        end_percent=1.0,
    )
    assert (eps(model, positive) - xl["eps"]).abs().max() > 1e-3
    sizes = torch.tensor([height, width, 0, 0, height, width]).unsqueeze(1) * 10000 ** -(torch.arange(128) / 128)
    assert torch.allclose(seen[0][0, 1280:].view(6, 256)[:, 128:], sizes.sin(), atol=1e-3)
    assert not seen[0][0, :1280].any()


def test_an_area_and_a_batch_and_any_size(model, core_node, condition):
    positive, no_reference, _ = condition()
    (area,) = core_node("ConditioningSetArea")(conditioning=positive, width=72, height=64, x=24, y=24, strength=1.0)
    (out,) = core_node("KSampler")(
        model=model,
        seed=1,
        steps=1,
        cfg=3.0,
        sampler_name="euler",
        scheduler="normal",
        positive=positive + area,
        negative=no_reference,
        latent_image={"samples": torch.zeros(2, 4, 20, 30)},
        denoise=1.0,
    )
    assert out["samples"].shape == (2, 4, 20, 30) and out["samples"].isfinite().all()

"""XL's figure and background, which the published code calls low-level injection."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from golden_xl import StandInVAE, assert_rows
from tiles import in_areas, in_tiles
from weights import tensor_for


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


def test_a_tile_takes_its_part_of_sketch_and_mask(xl, model, core_node, with_figure, condition, eps, assert_golden):
    """As an area does, that the host cuts itself."""
    positive, size = condition(with_figure())[0], xl["x"].shape[2:]
    areas = in_areas(core_node("ConditioningSetArea"), positive, size, size[0] // 2, size[1] // 2)
    assert_golden(eps(in_tiles(model, size[0] // 2, size[1] // 2), positive), eps(model, areas))


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


# Compiling


@pytest.fixture
def shallow(pack):
    """An XL v2 UNet with few blocks, of random weights."""
    import comfy.ops

    core = pack.colorize_core
    published = core.versions.xl.published_xl(core.versions.xl.ADAPTED_VERSION)
    shape = replace(
        published.unet,
        model_channels=32,
        transformer_depth=(0, 0, 0, 0, 1, 1),
        transformer_depth_middle=1,
        transformer_depth_output=(0, 0, 0, 0, 0, 0, 1, 1, 1),
        context_dim=64,
        num_head_channels=16,
    )
    heads = {"sketch_head_channels": 32, "mixer_head_channels": 16}
    config = replace(published, unet=shape, **heads, clip_width=64, tagger_width=64)
    host = core.host.versions.host_config(config)
    arguments = core.host.unet.unet_arguments(shape)
    unet = host.unet_class(**arguments, config=config, operations=comfy.ops.disable_weight_init)
    for name, parameter in unet.named_parameters():
        parameter.data = tensor_for(name, list(parameter.shape))
    return unet


def test_figure_and_background_may_change_after_compiling(shallow, assert_golden):
    """Compiled as the stock node does it, which never looks at transformer_options again."""
    from comfy_extras.nodes_torch_compile import skip_torch_compile_dict

    def rand(*shape, seed=0):
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    compiled = torch.compile(shallow, backend="eager", options={"guard_filter_fn": skip_torch_compile_dict})
    x, t, context, y = rand(1, 4, 16, 16), torch.tensor([500.0]), rand(1, 8, 64), rand(1, 512)
    outputs = []
    for seed in (1, 2):
        keywords = {f"background_bank_{i}": rand(1, 16, 2 * 128, seed=seed + i) for i in range(3)}
        keywords |= {"figure_mask": (rand(1, 1, 16, 16, seed=seed) > 0).float(), "figure_loras": ("background",) * 2}
        keywords |= {"figure_numbers": torch.tensor([[0.05, 0.1 * seed, 1.0, 1.0]])}
        keywords |= {"reference_tokens_background": rand(1, 8, 64, seed=seed), "transformer_options": {}}
        outputs.append(compiled(x, t, context, y, **keywords))
        assert_golden(outputs[-1], shallow(x, t, context, y, **keywords))
    assert not torch.allclose(*outputs, atol=1e-3)

"""Figure and Background: what every version makes of it, and what goes together with it."""

from dataclasses import replace

import pytest
import torch
from figures import BACKGROUND, FIGURES, FILES, FOREGROUND, OPTIONS, STYLE, canvas_mask, image_of
from small import rand
from tiles import in_areas, in_tiles

SIZE = 16  # of a latent; with half of it the host's FreeU divides by zero


@pytest.fixture
def differ():
    return lambda a, b: not torch.allclose(a, b, atol=1e-3)


@pytest.fixture
def sketch(pack):
    """`sketch(batch=1)`: a sketch of random dots."""

    def make(batch=1):
        pixels = (rand(batch, 3, 8 * SIZE, 8 * SIZE, seed=100) > 1).float() * 2 - 1
        return pack.colorize_core.sketch.Sketch(pixels)

    return make


@pytest.fixture
def colorize(node, sketch):
    """`colorize(model, tokens)`: the Colorize node's latent after two steps."""

    def run(model, tokens, batch=1, sketch=sketch, **inputs):
        defaults = {
            "latent": {"samples": torch.zeros(batch, 4, SIZE, SIZE)},
            "seed": 1,
            "steps": 2,
            "reference_guidance": 4.0,
            "sketch_guidance": 1.0,
            "sampler_name": "euler",
            "scheduler": "normal",
            "denoise": 1.0,
        }
        return node("Sampler").execute(model, tokens, sketch(), **defaults | inputs).result[0]["samples"]

    return run


@pytest.fixture
def tokens(version, figured):
    return figured(version, SIZE, **FIGURES[version])


# The published implementation


def test_v1_splits_its_cross_attention_as_published(
    pack, read_golden, open_version, conditionings, predict, assert_golden, tokens_of
):
    golden = read_golden("tiny")
    background = golden["background_context"]
    shares = {"foreground_strength": 0.9, "background_strength": 0.7, "merging": 0.25, "sketch_threshold": 0.6}
    figure = pack.colorize_core.figure.Figure(
        **OPTIONS | BACKGROUND | shares, sketch_mask=canvas_mask(golden["mask"]), background_local=background
    )
    tokens = replace(tokens_of(golden["context"]), figure=figure)
    actual = predict(open_version("tiny"), conditionings(golden, tokens)[0], golden)
    assert_golden(actual, golden["eps.masked_fg0.9_bg0.7_merge0.25_thr0.6"])


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("tiny_v15_extra", "eps.bg_enhance_injection_f0.5_ctl0.0"),
        ("tiny_v2_extra", "eps.background_injection_f0.5_ctl0.0"),
    ],
)
def test_injection_sees_the_figure_too(
    pack, node, read_golden, open_version, with_figure, conditionings, predict, assert_golden, file, name
):
    """Row 0 has the reference and row 1 has not; both are at the first timestep."""
    golden, model = read_golden(file), open_version(file)
    same_step = replace(golden, tensors=golden.tensors | {"t": golden["t"][:1].expand(2)})
    sigma = model.get_model_object("model_sampling").sigma(golden["t"][0])
    noise = pack.colorize_core.host.injection.make_noise(golden["injected_latent"], seed=None)
    latent = golden["injected_latent"] * (1 + sigma**2) ** 0.5 - sigma * noise  # noised, it is the published one

    class GivenVAE:
        def encode(self, pixels):
            return model.model.process_latent_out(latent)

    picture = image_of(golden["injected_picture"])
    patched = node("ReferenceInjection").execute(model, GivenVAE(), picture, 0.5, 0.0, 0.0).result[0]
    rows = conditionings(golden, with_figure(golden, **BACKGROUND))[:2]
    actual = torch.cat([predict(patched, rows[i], same_step)[i : i + 1] for i in range(2)])
    assert_golden(actual, golden[name], golden.tolerance(name))


# What the versions make of it


def test_it_changes_the_picture(model, tokens, colorize, differ):
    assert differ(colorize(model, tokens), colorize(model, replace(tokens, figure=None)))


def test_figure_and_background_do_not_see_each_other_s_tokens(version, width, open_version, figured):
    """In the cross-attentions; what else the pixels tell each other is the UNet's."""
    options = BACKGROUND  # with both enhances of v1.5 each half attends to both
    split = open_version(FILES[version]).model.diffusion_model.split
    reference, background = rand(1, 16, width(version)), rand(1, 16, width(version), seed=1)
    first = split(figured(version, SIZE, **options).figure, reference, background)
    other_background = split(figured(version, SIZE, **options).figure, reference, background + 1)
    other_reference = split(figured(version, SIZE, **options).figure, reference + 1, background)
    assert torch.equal(first.foreground, other_background.foreground)
    assert torch.equal(first.background, other_reference.background)
    assert not torch.equal(first.background, other_background.background)
    assert not torch.equal(first.foreground, other_reference.foreground)


@pytest.mark.parametrize(
    ("name", "options", "having"),
    [
        ("v1", FOREGROUND, r"foreground_enhance: ColorizeDiffusion v1 does not have it; these have: v1\.5, v2"),
        ("v1", STYLE, r"style_enhance: ColorizeDiffusion v1 does not have it; these have: v2"),
        ("v1.5", STYLE, r"style_enhance: ColorizeDiffusion v1\.5 does not have it; these have: v2"),
    ],
)
def test_what_a_version_lacks_is_said(open_version, figured, colorize, name, options, having):
    with pytest.raises(ValueError, match=having):
        colorize(open_version(FILES[name]), figured(name, SIZE, **options))


def test_v2_says_that_it_needs_the_vae(open_version, figured, colorize):
    tokens = figured("v2", SIZE, **BACKGROUND)
    bare = replace(tokens, figure=replace(tokens.figure, background_latent=None))
    with pytest.raises(ValueError, match=r"vae: ColorizeDiffusion v2 reads the background .* Connect vae and"):
        colorize(open_version(FILES["v2"]), bare)


def test_tokens_of_another_clip_are_refused(model, tokens, colorize, version, width):
    width = width(version)
    other = replace(tokens, figure=replace(tokens.figure, background_local=rand(1, 16, width + 32)))
    with pytest.raises(ValueError, match=f"its tokens are {width + 32} wide and the model takes {width}"):
        colorize(model, other)


# What goes together with it


def test_a_zeroed_conditioning_drops_figure_and_background(model, tokens, node, core_node, sketch, colorize):
    positive, no_reference, _ = node("Conditioning").execute(tokens, sketch()).result
    zeroed = core_node("ConditioningZeroOut")(conditioning=positive)[0]
    latent = {"samples": torch.zeros(1, 4, SIZE, SIZE)}
    inputs = {"seed": 1, "steps": 2, "cfg": 4.0, "sampler_name": "euler", "scheduler": "normal", "latent_image": latent}

    def sample(negative):
        return core_node("KSampler")(model=model, positive=positive, negative=negative, **inputs)[0]["samples"]

    assert torch.equal(sample(zeroed), sample(no_reference))
    assert torch.equal(sample(no_reference), colorize(model, tokens))


def test_outside_its_interval_the_reference_is_dropped_in_both(model, tokens, node, core_node, sketch):
    never, no_reference, _ = node("Conditioning").execute(tokens, sketch(), 0.0, 0.0).result
    latent = {"samples": torch.zeros(1, 4, SIZE, SIZE)}
    inputs = {"seed": 1, "steps": 2, "cfg": 1.0, "sampler_name": "euler", "scheduler": "normal", "latent_image": latent}

    def sample(positive):
        return core_node("KSampler")(model=model, positive=positive, negative=no_reference, **inputs)[0]["samples"]

    assert torch.allclose(sample(never), sample(no_reference), atol=1e-4)


def test_a_batch_is_as_many_runs(model, version, figured, sketch, node, core_node, assert_golden):
    import comfy.samplers

    options = FIGURES[version]
    both, noise = figured(version, SIZE, batch=2, **options), rand(2, 4, SIZE, SIZE, seed=5)
    sigmas = core_node("BasicScheduler")(model=model, scheduler="normal", steps=2, denoise=1.0)[0]

    def sample(tokens, noise):
        guider = node("Guider").execute(model, *node("Conditioning").execute(tokens, sketch()).result, 4.0, 1.0)
        sampler = comfy.samplers.sampler_object("euler")
        return guider.result[0].sample(noise, torch.zeros_like(noise), sampler, sigmas)

    def row(tokens, i):
        figure = tokens.figure
        tensors = ("sketch_mask", "background_cls", "background_local", "reference_latent", "background_latent")
        figure = replace(figure, **{name: getattr(figure, name)[i : i + 1] for name in tensors})
        return replace(tokens, cls=tokens.cls[i : i + 1], local=tokens.local[i : i + 1], figure=figure)

    singles = [sample(row(both, i), noise[i : i + 1]) for i in range(2)]
    assert_golden(sample(both, noise), torch.cat(singles), 1e-3)


def test_areas_take_their_part_of_the_mask(model, tokens, node, core_node, sketch, differ):
    positive, no_reference, _ = node("Conditioning").execute(tokens, sketch()).result
    area = core_node("ConditioningSetArea")(conditioning=positive, width=64, height=128, x=40, y=0, strength=1.0)[0]
    inputs = {"seed": 1, "steps": 2, "cfg": 4.0, "sampler_name": "euler", "scheduler": "normal"}
    latent = {"samples": torch.zeros(1, 4, SIZE, SIZE)}

    def sample(positive):
        return core_node("KSampler")(
            model=model, positive=positive, negative=no_reference, latent_image=latent, **inputs
        )[0]["samples"]

    out = sample(area)
    assert out.isfinite().all() and differ(out, sample(positive))


def test_a_tile_takes_its_part_of_the_mask(model, tokens, node, core_node, sketch, assert_golden):
    """As an area does, that the host cuts itself."""
    positive, no_reference, _ = node("Conditioning").execute(tokens, sketch()).result
    areas = in_areas(core_node("ConditioningSetArea"), positive, (SIZE, SIZE), 8, 8)
    inputs = {"seed": 1, "steps": 1, "cfg": 1.0, "sampler_name": "euler", "scheduler": "normal"}
    latent = {"samples": torch.zeros(1, 4, SIZE, SIZE)}

    def sample(model, positive):
        return core_node("KSampler")(
            model=model, positive=positive, negative=no_reference, latent_image=latent, **inputs
        )[0]["samples"]

    assert_golden(sample(in_tiles(model, 8, 8), positive), sample(model, areas))


def test_each_step_is_previewed_as_it_becomes(model, tokens, colorize, monkeypatch):
    import comfy.utils
    from comfy.cli_args import LatentPreviewMethod, args

    monkeypatch.setattr(args, "preview_method", LatentPreviewMethod.Latent2RGB)

    def previews(tokens):
        seen = []
        with monkeypatch.context() as patch:
            patch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", lambda value, total, preview, **kw: seen.append(preview))
            colorize(model, tokens, steps=3)
        return [picture.tobytes() for kind, picture, size in seen]

    with_figure = previews(tokens)
    assert len(set(with_figure)) == 3
    assert with_figure[-1] != previews(replace(tokens, figure=None))[-1]


PATCHES = {
    "FreeU_V2": {"b1": 1.3, "b2": 1.4, "s1": 0.9, "s2": 0.2},
    "PatchModelAddDownscale": {
        "block_number": 3,
        "downscale_factor": 2.0,
        "start_percent": 0.0,
        "end_percent": 1.0,
        "downscale_after_skip": True,
        "downscale_method": "bicubic",
        "upscale_method": "bicubic",
    },
    "EasyCache": {"reuse_threshold": 3.0, "start_percent": 0.0, "end_percent": 1.0, "verbose": False},
    "RescaleCFG": {"multiplier": 0.7},
    "PerturbedAttentionGuidance": {"scale": 3.0},
}


@pytest.mark.parametrize("name", PATCHES)
def test_stock_model_patches_work_and_change_the_picture(model, tokens, colorize, core_node, differ, name):
    patched = core_node(name)(model=model, **PATCHES[name])[0]
    out = colorize(patched, tokens, steps=3)
    assert out.isfinite().all() and differ(out, colorize(model, tokens, steps=3))


LORA_LAYERS = ("output_blocks.5.1.transformer_blocks.0.attn2.to_q", "input_blocks.4.0.in_layers.2")


@pytest.mark.parametrize("layer", LORA_LAYERS)
def test_loras_of_sd_2_1_change_the_picture(model, tokens, colorize, differ, layer):
    import comfy.sd

    weight = model.model.state_dict()[f"diffusion_model.{layer}.weight"]
    down, up = rand(2, *weight.shape[1:]), rand(len(weight), 2, *[1] * (weight.ndim - 2), seed=1)
    name = "lora_unet_" + layer.replace(".", "_")
    lora = {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}
    patched = comfy.sd.load_lora_for_models(model, None, lora, 0.5, 0)[0]
    assert differ(colorize(patched, tokens), colorize(model, tokens))


@pytest.fixture
def control_net(model):
    """A ControlNet of the model's shape, with random weights."""
    import comfy.cldm.cldm
    import comfy.controlnet
    import comfy.ops

    config = {key: value for key, value in model.model.model_config.unet_config.items() if key != "out_channels"}
    config |= {"hint_channels": 3, "dtype": torch.float32, "operations": comfy.ops.disable_weight_init}
    network = comfy.cldm.cldm.ControlNet(**config)
    for i, parameter in enumerate(network.parameters()):
        parameter.data = rand(*parameter.shape, seed=i) * 0.02
    return comfy.controlnet.ControlNet(network, load_device=torch.device("cpu"))


def test_a_control_net_adds_to_it(model, tokens, node, core_node, sketch, control_net, differ):
    positive, no_reference, _ = node("Conditioning").execute(tokens, sketch()).result
    image = rand(1, 8 * SIZE, 8 * SIZE, 3).clamp(0, 1)
    controls = {"control_net": control_net, "image": image, "strength": 1.0, "start_percent": 0.0, "end_percent": 1.0}
    controlled = core_node("ControlNetApplyAdvanced")(positive=positive, negative=no_reference, **controls)
    inputs = {"seed": 1, "steps": 2, "cfg": 4.0, "sampler_name": "euler", "scheduler": "normal"}
    latent = {"samples": torch.zeros(1, 4, SIZE, SIZE)}

    def sample(positive, negative):
        conditions = {"positive": positive, "negative": negative, "latent_image": latent}
        return core_node("KSampler")(model=model, **conditions, **inputs)[0]["samples"]

    out = sample(*controlled[:2])
    assert out.isfinite().all() and differ(out, sample(positive, no_reference))


def test_its_numbers_may_change_after_compiling(model, version, figured, sketch, node, assert_golden):
    """Compiled as the stock node does it, which never looks at transformer_options again."""
    from comfy_extras.nodes_torch_compile import skip_torch_compile_dict

    unet = model.model.diffusion_model
    compiled = torch.compile(unet, backend="eager", options={"guard_filter_fn": skip_torch_compile_dict})
    latent, outputs = rand(1, 4, SIZE, SIZE), []
    for merging in (0.0, 0.5):
        tokens = figured(version, SIZE, **FIGURES[version] | {"merging": merging})
        ((local, values),) = node("Conditioning").execute(tokens, sketch()).result[0]
        conds = model.model.extra_conds(noise=latent, device=latent.device, cross_attn=local, **values)
        keywords = {name: cond.cond for name, cond in conds.items() if name != "reference_interval"}
        inputs = latent, torch.tensor([500.0]), keywords.pop("c_crossattn")
        outputs.append(compiled(*inputs, **keywords, transformer_options={}))
        assert_golden(outputs[-1], unet(*inputs, **keywords, transformer_options={}))
    assert not torch.allclose(*outputs, atol=1e-3)

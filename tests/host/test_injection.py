"""Reference Injection in the real ComfyUI: agreement with the published implementation, its cost, its company."""

import itertools

import pytest
import torch

SIZE = 8  # of the latent
WIDTH = 64  # of a token
SELF_ATTENTIONS = 16


def rand(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class GivenVAE:
    """Encodes every picture into the latent that it was given, and remembers the picture."""

    def __init__(self, latent):
        self.latent = latent

    def encode(self, pixels):
        self.pixels = pixels
        return self.latent


@pytest.fixture
def inject(node, model):
    """`inject(...)`: the node's model, with small defaults for what is not given."""

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
def condition(pack, node):
    """`condition(...)`: positive, no_reference, no_sketch of random tokens and a sketch of random dots."""
    core = pack.colorize_core

    def build(tokens=None, sketch=None, batch=1, size=SIZE):
        local = rand(batch, 16, WIDTH) if tokens is None else tokens
        pixels = (rand(1, 3, 8 * size, 8 * size, seed=100) > 1).float() * 2 - 1 if sketch is None else sketch
        return (
            node("Conditioning")
            .execute(core.tokens.ReferenceTokens(cls=local[:, :1], local=local), core.sketch.Sketch(pixels))
            .result
        )

    return build


@pytest.fixture
def ksampler(core_node, model, condition):
    """`ksampler(model, ...)`: the latent of the stock KSampler after two steps."""

    def run(model=model, size=SIZE, batch=1, **inputs):
        positive, no_reference, _ = condition(size=size)
        defaults = {
            "model": model,
            "seed": 1,
            "steps": 2,
            "cfg": 4.0,
            "sampler_name": "euler",
            "scheduler": "normal",
            "positive": positive,
            "negative": no_reference,
            "latent_image": {"samples": torch.zeros(batch, 4, size, size)},
        }
        return core_node("KSampler")(**defaults | inputs)[0]["samples"]

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


def differ(a, b):
    return not torch.allclose(a, b, atol=1e-2)


# Guidance


def test_style_fidelity_is_the_share_without_it_where_the_reference_is_dropped(ksampler, inject, condition):
    positive, no_reference, no_sketch = condition()
    models = [inject(style_fidelity=fidelity) for fidelity in (0.0, 1.0)]
    for conditioning, affected in (positive, False), (no_sketch, False), (no_reference, True):
        outputs = [ksampler(model, positive=conditioning, cfg=1.0) for model in models]
        assert differ(*outputs) == affected
    alone = ksampler(positive=no_reference, cfg=1.0)
    torch.testing.assert_close(outputs[1], alone, atol=1e-4, rtol=1e-4)


def test_a_zeroed_conditioning_and_none_count_as_dropped(ksampler, inject, condition, core_node):
    positive, no_reference, _ = condition()
    zeroed = core_node("ConditioningZeroOut")(conditioning=positive)[0]
    model = inject(style_fidelity=1.0)
    torch.testing.assert_close(ksampler(model, negative=zeroed), ksampler(model, negative=no_reference))
    torch.testing.assert_close(
        ksampler(model, positive=[[None, {}]], cfg=1.0), ksampler(positive=[[None, {}]], cfg=1.0), atol=1e-4, rtol=1e-4
    )


def test_the_order_of_the_conditionings_does_not_matter(ksampler, inject, condition):
    """Guidance between two that have a reference drops none, whichever is called the negative."""
    positive, _, no_sketch = condition()
    outputs = [
        ksampler(inject(style_fidelity=fidelity), positive=a, negative=b)
        for a, b in ((positive, no_sketch), (no_sketch, positive))
        for fidelity in (0.0, 1.0)
    ]
    torch.testing.assert_close(outputs[0], outputs[1])
    torch.testing.assert_close(outputs[2], outputs[3])


@pytest.mark.parametrize("sampler_name", ["dpmpp_2m", "dpmpp_sde", "euler_cfg_pp"])
def test_every_sampler_and_our_own_nodes(pack, node, ksampler, inject, sampler_name):
    assert ksampler(inject(), sampler_name=sampler_name).isfinite().all()
    core, local = pack.colorize_core, rand(1, 16, WIDTH)
    inputs = {
        "tokens": core.tokens.ReferenceTokens(cls=local[:, :1], local=local),
        "sketch": core.sketch.Sketch(-torch.ones(1, 3, 64, 64)),
        "latent": {"samples": torch.zeros(1, 4, SIZE, SIZE)},
        "seed": 1,
        "steps": 2,
        "reference_guidance": 4.0,
        "sketch_guidance": 2.0,
        "sampler_name": sampler_name,
        "scheduler": "normal",
        "denoise": 1.0,
    }
    outputs = [node("Sampler").execute(model=m, **inputs).result[0]["samples"] for m in (inject(), inject())]
    assert torch.equal(*outputs) and outputs[0].isfinite().all()


# What it depends on


def test_every_input_counts(pack, inject, ksampler):
    sketch = pack.colorize_core.sketch.Sketch((rand(1, 3, 64, 64, seed=3) > 1).float() * 2 - 1)
    base = ksampler(inject())
    assert differ(base, ksampler())
    for change in (
        {"vae": GivenVAE(rand(1, 4, SIZE, SIZE, seed=8) * 5)},
        {"style_fidelity": 1.0},
        {"sketch": sketch, "sketch_fidelity": 1.0},
        {"start_percent": 0.5},
    ):
        assert differ(base, ksampler(inject(**change))), change


def test_without_fidelity_the_sketch_is_not_looked_at(pack, inject, ksampler):
    sketch = pack.colorize_core.sketch.Sketch(torch.ones(1, 3, 64, 64))
    assert torch.equal(ksampler(inject(sketch=sketch)), ksampler(inject()))
    assert torch.equal(ksampler(inject(sketch_fidelity=1.0)), ksampler(inject()))


def test_the_same_seed_gives_the_same_reference_noise_and_another_than_the_pictures(inject, ksampler, passes):
    for seed in (1, 1, 2, 2**64 - 1):
        ksampler(inject(vae=GivenVAE(torch.zeros(1, 4, SIZE, SIZE))), seed=seed, steps=1)
    (first, picture), again, other, _ = (passes[i : i + 2] for i in range(0, 8, 2))
    assert torch.equal(first, again[0]) and torch.equal(picture, again[1])
    assert differ(first, other[0])
    correlation = torch.corrcoef(torch.stack([first[0].flatten(), picture[0].flatten()]))[0, 1]
    assert abs(correlation) < 0.3


def test_the_reference_is_noised_as_much_as_the_picture(inject, ksampler, passes):
    """Of a flat latent, the spread is the noise's."""
    flat = GivenVAE(torch.full((1, 4, 32, 32), 3.0))
    ksampler(inject(vae=flat), steps=4, scheduler="simple")
    spreads = [reference.std(dim=(2, 3)).mean().item() for reference in passes[::2]]
    assert len(spreads) == 4 and spreads == sorted(spreads, reverse=True)
    assert spreads[0] > 0.95 and spreads[-1] < 0.9


# What it costs


def test_before_its_start_there_is_no_pass_over_the_reference(inject, ksampler, passes):
    counts = []
    for start in (0.0, 0.5, 1.0):
        passes.clear()
        out = ksampler(inject(start_percent=start), steps=10)
        counts.append(len(passes))
    assert counts == [20, 15, 10]
    assert torch.equal(out, ksampler(steps=10))


def test_only_a_batch_with_a_dropped_reference_attends_twice(inject, ksampler, condition, monkeypatch):
    from comfy.ldm.modules import attention

    calls, attend = [], attention.optimized_attention

    def count(q, k, *args, **kwargs):
        calls.append(k.shape[1] != q.shape[1])
        return attend(q, k, *args, **kwargs)

    monkeypatch.setattr(attention, "optimized_attention", count)
    positive, no_reference, _ = condition()

    def per_step(conditioning):
        calls.clear()
        ksampler(inject(), positive=conditioning, cfg=1.0, steps=1)
        return len(calls)

    once = 4 * SELF_ATTENTIONS  # two passes of self- and cross-attention
    assert [per_step(positive), per_step(no_reference)] == [once, once + SELF_ATTENTIONS]


def test_the_memory_of_the_reference_is_reckoned_with(inject, model, ksampler, monkeypatch):
    network, seen = model.model, []
    estimate = type(network).memory_required

    def spy(self, input_shape, cond_shapes={}):  # noqa: B006 (the host's signature)
        seen.append(estimate(self, input_shape, cond_shapes) / estimate(self, input_shape))
        return estimate(self, input_shape, cond_shapes)

    monkeypatch.setattr(type(network), "memory_required", spy)
    ksampler(inject(), steps=1)
    assert min(seen) >= 1.5
    seen.clear()
    ksampler(steps=1)
    assert set(seen) == {1.0}


# Sizes, batches, areas


@pytest.mark.parametrize(("reference", "picture"), [((4, 12), (SIZE, SIZE)), ((16, 8), (5, 9))])
def test_reference_and_picture_may_have_any_size(inject, ksampler, reference, picture):
    model = inject(vae=GivenVAE(rand(1, 4, *reference)))
    out = ksampler(model, latent_image={"samples": torch.zeros(1, 4, *picture)}, steps=1)
    assert out.shape[2:] == picture and out.isfinite().all()


@pytest.fixture
def sample_noise(core_node, condition):
    """`sample_noise(model, noise)`: sampled from this very noise, with guidance."""

    def run(model, noise):
        import comfy.samplers

        positive, no_reference, _ = condition()
        guider = core_node("CFGGuider")(model=model, positive=positive, negative=no_reference, cfg=4.0)[0]
        sigmas = core_node("BasicScheduler")(model=model, scheduler="normal", steps=2, denoise=1.0)[0]
        return guider.sample(noise, torch.zeros_like(noise), comfy.samplers.sampler_object("euler"), sigmas, seed=1)

    return run


def test_batch_2_is_two_runs_of_batch_1(inject, sample_noise, assert_golden):
    noise = rand(2, 4, SIZE, SIZE)
    both = sample_noise(inject(), noise)
    assert_golden(both, torch.cat([sample_noise(inject(), row) for row in noise.split(1)]))


def test_references_repeat_in_turn_to_the_batch(inject, sample_noise, assert_golden):
    noise = rand(1, 4, SIZE, SIZE).repeat(3, 1, 1, 1)
    first, second, third = sample_noise(inject(vae=GivenVAE(rand(2, 4, SIZE, SIZE) * 5)), noise).split(1)
    assert_golden(third, first)
    assert differ(second, first)


def test_an_area_sees_the_whole_reference(inject, ksampler, condition, core_node, passes):
    positive, no_reference, _ = condition(size=2 * SIZE)
    area = core_node("ConditioningSetArea")(conditioning=positive, width=72, height=64, x=24, y=24, strength=1.0)[0]
    out = ksampler(inject(), size=2 * SIZE, positive=positive + area, negative=no_reference)
    assert out.isfinite().all()
    assert {tuple(x.shape[2:]) for x in passes} == {(SIZE, SIZE), (2 * SIZE, 2 * SIZE), (8, 9)}


def test_conditions_have_no_picture_sized_map_that_a_tiler_would_cut(pack, model, inject, condition):
    import comfy.sampler_helpers

    core = pack.colorize_core
    injection = core.host.injection.Injection(
        rand(1, 4, SIZE, SIZE), core.sketch.Sketch(-torch.ones(1, 3, 64, 64)), 0.5, 1.0, 0.5
    )
    cond = comfy.sampler_helpers.convert_cond(condition()[0])[0] | {core.host.injection.INJECTION: injection}
    conds = model.model.extra_conds(**cond, noise=torch.zeros(1, 4, SIZE, SIZE), device=torch.device("cpu"), seed=1)
    injected = {name: value.cond for name, value in conds.items() if name.startswith("injection_")}
    assert len(injected) == 9 and all(tensor.ndim != 4 for tensor in injected.values())


# In company


PATCHES = {
    "FreeU_V2": {"b1": 1.3, "b2": 1.4, "s1": 0.9, "s2": 0.2},
    "PerturbedAttentionGuidance": {"scale": 3.0},
    "SelfAttentionGuidance": {"scale": 0.5, "blur_sigma": 2.0},
    "EasyCache": {"reuse_threshold": 3.0, "start_percent": 0.0, "end_percent": 1.0, "verbose": False},
    "RescaleCFG": {"multiplier": 0.7},
    "TomePatchModel": {"ratio": 0.3},
}


@pytest.mark.parametrize("name", PATCHES)
def test_stock_model_patches_work_beside_it_in_either_order(core_node, model, inject, ksampler, name):
    settings = {"size": 2 * SIZE, "steps": 3 if name == "EasyCache" else 1}
    vae = GivenVAE(rand(1, 4, 2 * SIZE, SIZE * 3) * 5)  # some of them divide by zero where there is but one pixel

    def patch(model):
        return core_node(name)(model=model, **PATCHES[name])[0]

    after = ksampler(patch(inject(vae=vae)), **settings)
    assert torch.equal(after, ksampler(inject(vae=vae, model=patch(model)), **settings))
    assert after.isfinite().all()
    assert differ(after, ksampler(patch(model), **settings))
    assert differ(after, ksampler(inject(vae=vae), **settings))


def test_attention_patches_of_others_run_in_both_passes(inject, ksampler):
    injected = inject()
    doubled, seen = injected.clone(), []

    def patch(query, context, value, options):
        seen.append(options["block"])
        return query, context, 2 * value

    doubled.set_model_attn1_patch(patch)
    assert differ(ksampler(doubled, steps=1), ksampler(injected, steps=1))
    assert len(seen) == 2 * SELF_ATTENTIONS


def test_queries_that_another_patch_cuts_into_tiles_see_the_picture_alone(model, inject, ksampler):
    def halves(tokens):
        return tokens.reshape(2 * len(tokens), -1, tokens.shape[-1]) if tokens.shape[1] > 1 else tokens

    def cut(model):
        """As HyperTile does: the attention itself takes keys and values apart like the queries."""
        patched = model.clone()
        patched.set_model_attn1_patch(lambda query, context, value, options: (halves(query), context, value))
        patched.set_model_attn1_output_patch(
            lambda out, options: out.reshape(options["activations_shape"][0], -1, out.shape[-1])
        )
        return patched

    assert torch.equal(ksampler(cut(inject()), steps=1), ksampler(inject(model=cut(model)), steps=1))
    assert differ(ksampler(cut(inject()), steps=1), ksampler(inject(), steps=1))


def test_where_another_patch_replaces_self_attention_it_sees_the_picture_alone(inject, ksampler):
    injected, lengths = inject(vae=GivenVAE(rand(1, 4, 4, 4))), []
    replaced = injected.clone()

    def attend(query, key, value, options):
        lengths.append((query.shape[1], key.shape[1]))
        return value

    replaced.set_model_attn1_replace(attend, "middle", 0)
    assert differ(ksampler(replaced, steps=1), ksampler(injected, steps=1))
    assert lengths == [(1, 1), (1, 1)]


def test_reference_strength_counts_in_both_passes(node, inject, ksampler, condition):
    weakened = node("ReferenceStrength").execute(inject(), 0.0).result[0]
    reordered = inject(model=node("ReferenceStrength").execute(inject(), 0.0).result[0])
    none = ksampler(weakened, cfg=1.0)
    assert torch.equal(none, ksampler(reordered, cfg=1.0))
    no_reference = ksampler(inject(style_fidelity=0.0), positive=condition()[1], cfg=1.0)
    torch.testing.assert_close(none, no_reference, atol=1e-3, rtol=1e-3)


def test_a_lora_works_beside_it(inject, ksampler):
    import comfy.sd

    key = "lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_v.lora_{}.weight"
    lora = {key.format("down"): rand(4, 32), key.format("up"): rand(32, 4)}
    patched, _ = comfy.sd.load_lora_for_models(inject(), None, lora, 1.0, 0.0)
    base = ksampler(inject())
    assert differ(ksampler(patched), base)
    assert torch.equal(ksampler(inject()), base)


def test_a_control_net_reaches_the_picture_alone(model):
    unet = model.model.diffusion_model
    x, t, context = rand(1, 4, SIZE, SIZE), torch.tensor([500.0]), rand(1, 16, WIDTH)
    reference, seen = rand(1, 4, 4, 12), []
    control = {"input": [*[None] * 11, rand(1, 32, SIZE, SIZE)]}
    patches = {"input_block_patch": [lambda h, options: seen.append(h) or h]}
    out = unet(
        x,
        t,
        context=context,
        control={"input": list(control["input"])},
        transformer_options={"patches": patches},
        injection_latent=reference,
    )
    plain = unet(x, t, context=context, injection_latent=reference)
    assert len(seen) == 24 and control["input"][-1].shape == seen[12].shape
    assert differ(out, plain)


def test_a_later_injection_replaces_an_earlier_one_and_the_model_it_came_from_is_as_before(model, inject, ksampler):
    before = ksampler()
    other = inject(vae=GivenVAE(rand(1, 4, SIZE, SIZE, seed=9)))
    assert torch.equal(ksampler(inject(model=other)), ksampler(inject()))
    assert torch.equal(ksampler(), before)


def test_it_may_change_after_compiling(pack, small_config, assert_golden):
    """Compiled as the stock node does it, which never looks at transformer_options again; one level for speed."""
    import comfy.ops
    from comfy_extras.nodes_torch_compile import skip_torch_compile_dict

    unet = pack.colorize_core.host.unet.ColorizeUNet(
        config=small_config(blocks=(0,), downscales=(1,)),
        image_size=32,
        in_channels=4,
        out_channels=4,
        model_channels=32,
        channel_mult=(1,),
        num_res_blocks=[1],
        num_head_channels=16,
        use_spatial_transformer=True,
        context_dim=WIDTH,
        transformer_depth=[1],
        transformer_depth_middle=-1,
        transformer_depth_output=[1, 0],
        operations=comfy.ops.disable_weight_init,
    )
    for i, (name, parameter) in enumerate(unet.named_parameters()):
        parameter.data = rand(*parameter.shape, seed=i) * (0.8 if "attn1" in name else 0.2)
    compiled = torch.compile(unet, backend="eager", options={"guard_filter_fn": skip_torch_compile_dict})

    inputs = rand(2, 4, SIZE, SIZE), torch.tensor([500.0, 500.0]), rand(2, 16, WIDTH)
    outputs = []
    for seed, share in ((1, 0.2), (1, 0.9), (2, 0.9)):
        keywords = {"transformer_options": {}, "injection_latent": rand(2, 4, SIZE, SIZE, seed=seed)}
        keywords["injection_own_share"] = torch.tensor([0.0, share])
        outputs.append(compiled(*inputs, **keywords))
        assert_golden(outputs[-1], unet(*inputs, **keywords))
    for a, b in itertools.pairwise(outputs):
        assert differ(a, b)


# The picture


@pytest.mark.parametrize(
    ("size", "encoded"),
    [
        ((512, 512), (512, 512)),
        ((128, 192), (128, 192)),
        ((1, 1), (64, 64)),
        ((911, 37), (512, 64)),
        ((64, 4096), (64, 512)),
        ((1080, 1920), (256, 512)),
        ((300, 211), (320, 192)),
    ],
)
def test_the_reference_is_encoded_at_most_512_wide_in_multiples_of_64(inject, size, encoded):
    vae = GivenVAE(rand(1, 4, SIZE, SIZE))
    image = torch.rand(2, *size, 4)
    before = image.clone()
    inject(vae=vae, image=image)
    assert vae.pixels.shape[1:3] == encoded and torch.equal(image, before)


def test_what_a_mask_covers_of_the_reference_is_white(inject):
    vae, mask = GivenVAE(rand(1, 4, SIZE, SIZE)), torch.zeros(1, 64, 64)
    mask[:, :, :32] = 1.0
    inject(vae=vae, image=torch.zeros(1, 64, 64, 3), mask=mask)
    assert vae.pixels[:, :, :32].min() == 1 and vae.pixels[:, :, 32:].max() == 0


def test_through_a_real_vae(node, models_dir, golden_state_dict, golden_config_metadata, tiny_vae_state_dict, ksampler):
    from safetensors.torch import save_file

    path = models_dir / "checkpoints" / "tiny-with-vae-eps.safetensors"
    save_file(golden_state_dict | tiny_vae_state_dict, path, golden_config_metadata)
    model, vae = node("LoadCheckpoint").execute(path.name).result
    outputs = [
        ksampler(node("ReferenceInjection").execute(model, vae, image, 0.5, 0.0, 0.0).result[0])
        for image in (torch.zeros(1, 64, 64, 3), torch.rand(1, 100, 70, 3))
    ]
    assert all(out.isfinite().all() for out in outputs) and differ(*outputs)


def test_what_does_not_fit_is_refused_with_a_sentence(node, model, inject, tiny_checkpoint):
    import comfy.model_patcher

    other = comfy.model_patcher.ModelPatcher(torch.nn.Linear(1, 1), torch.device("cpu"), torch.device("cpu"))
    with pytest.raises(ValueError, match="no ColorizeDiffusion model"):
        inject(model=other)
    with pytest.raises(ValueError, match=r"vae: .*\[1, 16, 8, 8\] where the model takes \[batch, 4, height, width\]"):
        inject(vae=GivenVAE(rand(1, 16, SIZE, SIZE)))
    with pytest.raises(ValueError, match="holds no VAE"):
        inject(vae=node("LoadCheckpoint").execute(tiny_checkpoint).result[1])
    with pytest.raises(ValueError, match="image: there is no pixel in it"):
        inject(image=torch.zeros(1, 0, 4, 3))

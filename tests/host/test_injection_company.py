"""Reference Injection in company: sizes, batches, areas, patches of others, LoRAs, ControlNets, compiling."""

import itertools

import pytest
import torch
from small import SELF_ATTENTIONS, SIZE, WIDTH, GivenVAE, differ, rand

# Sizes, batches, areas


@pytest.mark.parametrize(("reference", "picture"), [((4, 12), (SIZE, SIZE)), ((16, 8), (5, 9))])
def test_reference_and_picture_may_have_any_size(inject, ksampler, reference, picture):
    model = inject(vae=GivenVAE(rand(1, 4, *reference)))
    out = ksampler(model, latent_image={"samples": torch.zeros(1, 4, *picture)}, steps=1)
    assert out.shape[2:] == picture and out.isfinite().all()


@pytest.fixture
def sample_guided(core_node, condition, tokens, sketch, sample_noise):
    """`sample_guided(model, noise)`: sampled from this very noise, with guidance."""

    def run(model, noise):
        positive, no_reference, _ = condition(tokens(), sketch())
        guider = core_node("CFGGuider")(model=model, positive=positive, negative=no_reference, cfg=4.0)[0]
        return sample_noise(guider, noise)

    return run


def test_batch_2_is_two_runs_of_batch_1(inject, sample_guided, assert_golden):
    noise = rand(2, 4, SIZE, SIZE)
    both = sample_guided(inject(), noise)
    assert_golden(both, torch.cat([sample_guided(inject(), row) for row in noise.split(1)]))


def test_references_repeat_in_turn_to_the_batch(inject, sample_guided, assert_golden):
    noise = rand(1, 4, SIZE, SIZE).repeat(3, 1, 1, 1)
    first, second, third = sample_guided(inject(vae=GivenVAE(rand(2, 4, SIZE, SIZE) * 5)), noise).split(1)
    assert_golden(third, first)
    assert differ(second, first)


def test_an_area_sees_the_whole_reference(inject, ksampler, condition, core_node, passes, tokens, sketch):
    positive, no_reference, _ = condition(tokens(), sketch(size=2 * SIZE))
    area = core_node("ConditioningSetArea")(conditioning=positive, width=72, height=64, x=24, y=24, strength=1.0)[0]
    out = ksampler(inject(), size=2 * SIZE, positive=positive + area, negative=no_reference)
    assert out.isfinite().all()
    assert {tuple(x.shape[2:]) for x in passes} == {(SIZE, SIZE), (2 * SIZE, 2 * SIZE), (8, 9)}


def test_conditions_have_no_picture_sized_map_that_a_tiler_would_cut(pack, model, inject, condition, tokens, sketch):
    import comfy.sampler_helpers

    core = pack.colorize_core
    injection = core.host.injection.Injection(
        rand(1, 4, SIZE, SIZE), core.sketch.Sketch(-torch.ones(1, 3, 64, 64)), 0.5, 1.0, 0.5
    )
    cond = comfy.sampler_helpers.convert_cond(condition(tokens(), sketch())[0])[0] | {
        core.host.injection.INJECTION: injection
    }
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


def test_reference_strength_counts_in_both_passes(node, inject, ksampler, condition, tokens, sketch):
    weakened = node("ReferenceStrength").execute(inject(), 0.0).result[0]
    reordered = inject(model=node("ReferenceStrength").execute(inject(), 0.0).result[0])
    none = ksampler(weakened, cfg=1.0)
    assert torch.equal(none, ksampler(reordered, cfg=1.0))
    no_reference = ksampler(inject(style_fidelity=0.0), positive=condition(tokens(), sketch())[1], cfg=1.0)
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

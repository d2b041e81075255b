"""Reference Injection: guidance, what it depends on, what it costs, and the picture it takes."""

import pytest
import torch
from small import SELF_ATTENTIONS, SIZE, WIDTH, GivenVAE, differ, rand

# Guidance


def test_style_fidelity_is_the_share_without_it_where_the_reference_is_dropped(
    ksampler, inject, condition, tokens, sketch
):
    positive, no_reference, no_sketch = condition(tokens(), sketch())
    models = [inject(style_fidelity=fidelity) for fidelity in (0.0, 1.0)]
    for conditioning, affected in (positive, False), (no_sketch, False), (no_reference, True):
        outputs = [ksampler(model, positive=conditioning, cfg=1.0) for model in models]
        assert differ(*outputs) == affected
    alone = ksampler(positive=no_reference, cfg=1.0)
    torch.testing.assert_close(outputs[1], alone, atol=1e-4, rtol=1e-4)


def test_a_zeroed_conditioning_and_none_count_as_dropped(ksampler, inject, condition, core_node, tokens, sketch):
    positive, no_reference, _ = condition(tokens(), sketch())
    zeroed = core_node("ConditioningZeroOut")(conditioning=positive)[0]
    model = inject(style_fidelity=1.0)
    torch.testing.assert_close(ksampler(model, negative=zeroed), ksampler(model, negative=no_reference))
    torch.testing.assert_close(
        ksampler(model, positive=[[None, {}]], cfg=1.0), ksampler(positive=[[None, {}]], cfg=1.0), atol=1e-4, rtol=1e-4
    )


def test_the_order_of_the_conditionings_does_not_matter(ksampler, inject, condition, tokens, sketch):
    """Guidance between two that have a reference drops none, whichever is called the negative."""
    positive, _, no_sketch = condition(tokens(), sketch())
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


def test_only_a_batch_with_a_dropped_reference_attends_twice(inject, ksampler, condition, monkeypatch, tokens, sketch):
    from comfy.ldm.modules import attention

    calls, attend = [], attention.optimized_attention

    def count(q, k, *args, **kwargs):
        calls.append(k.shape[1] != q.shape[1])
        return attend(q, k, *args, **kwargs)

    monkeypatch.setattr(attention, "optimized_attention", count)
    positive, no_reference, _ = condition(tokens(), sketch())

    def per_step(conditioning):
        calls.clear()
        ksampler(inject(), positive=conditioning, cfg=1.0, steps=1)
        return len(calls)

    once = 2 * SELF_ATTENTIONS  # in two passes; cross-attention is called elsewhere (branches.py)
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

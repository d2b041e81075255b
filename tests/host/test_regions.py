"""Region Reference through the real samplers: what regions mean, and in company."""

from dataclasses import replace

import pytest
import torch

WIDTH, SIZE = 64, 16  # of tokens, and of the latent


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def reference(pack):
    """`reference(seed, rows=1)`: random tokens."""

    def make(seed, rows=1):
        local = rand(rows, 16, WIDTH, seed=seed)
        return pack.colorize_core.tokens.ReferenceTokens(cls=local.mean(1, keepdim=True), local=local)

    return make


@pytest.fixture
def region(node):
    """`region(tokens, other, mask, strength=1)`: the tokens with a region."""
    return lambda tokens, other, mask, strength=1.0: (
        node("RegionReference").execute(tokens, other, mask, strength).result[0]
    )


@pytest.fixture
def color(pack, node, model):
    """`color(tokens, ...)`: a latent of Colorize, two steps of euler."""

    def run(tokens, model=model, rows=1, size=SIZE, seed=3, **settings):
        pixels = (rand(rows, 3, 8 * size, 8 * size, seed=1) > 1.5).float() * 2 - 1
        settings = {"steps": 2, "reference_guidance": 3.0, "sketch_guidance": 1.0, "denoise": 1.0} | settings
        return (
            node("Sampler")
            .execute(
                model,
                tokens,
                pack.colorize_core.sketch.Sketch(pixels),
                {"samples": torch.zeros(rows, 4, size, size)},
                seed,
                sampler_name="euler",
                scheduler="normal",
                **settings,
            )
            .result[0]["samples"]
        )

    return run


def left(size=8 * SIZE):
    mask = torch.zeros(1, size, size)
    mask[:, :, : size // 2] = 1
    return mask


def ones(value=1.0):
    return torch.full((1, 8 * SIZE, 8 * SIZE), value)


def difference(a, b):
    return ((a - b).abs().max() / b.abs().mean()).item()


def test_a_region_that_covers_all_is_its_own_reference_alone(reference, region, color):
    whole, other = reference(1), reference(2)
    assert difference(color(region(whole, other, ones())), color(other)) < 1e-5
    assert difference(color(whole), color(other)) > 1e-2


def test_an_empty_region_changes_nothing(reference, region, color):
    whole = reference(1)
    assert difference(color(region(whole, reference(2), ones(0.0))), color(whole)) < 1e-5


def test_regions_of_one_reference_that_cover_all_are_one(reference, region, color):
    other = reference(2)
    split = region(region(reference(1), other, left()), other, 1 - left())
    assert difference(color(split), color(other)) < 1e-5


def test_the_order_of_regions_side_by_side_does_not_matter(reference, region, color):
    whole, a, b = reference(1), reference(2), reference(3)
    first = region(region(whole, a, left()), b, 1 - left())
    second = region(region(whole, b, 1 - left()), a, left())
    assert difference(color(first), color(second)) < 1e-5
    assert difference(color(first), color(region(region(whole, b, left()), a, 1 - left()))) > 1e-2


def test_half_a_mask_lies_between_the_two(reference, region, color):
    whole, other = reference(1), reference(2)
    settings = {"steps": 1, "reference_guidance": 1.0}
    half = color(region(whole, other, ones(0.5)), **settings)
    one, two = color(whole, **settings), color(other, **settings)
    assert difference(half, (one + two) / 2) < 0.5 * difference(one, two)
    assert difference(half, one) > 1e-3 and difference(half, two) > 1e-3


def test_a_region_without_strength_is_a_dropped_reference_there(reference, region, color):
    whole = reference(1)
    dropped = replace(whole, cls=torch.zeros_like(whole.cls), local=torch.zeros_like(whole.local))
    unguided = {"reference_guidance": 1.0}
    assert difference(color(region(whole, reference(2), ones(), 0.0), **unguided), color(dropped, **unguided)) < 1e-5
    assert difference(color(region(whole, reference(2), left(), 0.0)), color(whole)) > 1e-3


def test_a_batch_with_a_mask_each_is_two_runs(reference, region, pack, node, model):
    whole, other = reference(1), reference(2)
    masks = torch.cat([left(), 1 - left()])
    pixels = -torch.ones(1, 3, 8 * SIZE, 8 * SIZE)
    sketch = pack.colorize_core.sketch.Sketch(pixels)
    predict = Prediction(node, model, sketch)
    both = predict(region(whole, other, masks), 2)
    for row in range(2):
        assert difference(predict(region(whole, other, masks[row : row + 1]), 1), both[row : row + 1]) < 1e-5


class Prediction:
    """One call of the model without guidance, the same noisy latent in every row."""

    def __init__(self, node, model, sketch):
        self.node, self.model, self.sketch = node, model, sketch

    def __call__(self, tokens, rows):
        import comfy.samplers

        positive = self.node("Conditioning").execute(tokens, self.sketch).result[0]
        guider = comfy.samplers.CFGGuider(self.model)
        guider.set_conds(positive, positive)
        guider.set_cfg(1.0)
        noisy = rand(1, 4, SIZE, SIZE, seed=9).repeat(rows, 1, 1, 1) * 5

        def one_pass(model, noise, steps, extra_args, callback, disable):
            return model(noisy, torch.full((rows,), 5.0), **extra_args)

        latent = torch.zeros(rows, 4, SIZE, SIZE)
        return guider.sample(latent, latent, comfy.samplers.KSAMPLER(one_pass), torch.tensor([5.0, 0.0]))


def test_regions_share_the_batch_with_the_row_without_a_reference(reference, region, color, model, monkeypatch):
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    rows = []
    forward = UNetModel._forward

    def watched(self, x, *args, **kwargs):
        rows.append(len(x))
        return forward(self, x, *args, **kwargs)

    monkeypatch.setattr(UNetModel, "_forward", watched)
    color(region(region(reference(1), reference(2), left()), reference(3), 1 - left()), steps=1)
    assert rows == [2]


def test_a_zeroed_conditioning_drops_the_regions_too(reference, region, pack, node, model, core_node):
    sketch = pack.colorize_core.sketch.Sketch(-torch.ones(1, 3, 8 * SIZE, 8 * SIZE))
    positive, no_reference, _ = node("Conditioning").execute(region(reference(1), reference(2), ones()), sketch).result
    zeroed = core_node("ConditioningZeroOut")(conditioning=positive)[0]
    noise = {"samples": torch.zeros(1, 4, SIZE, SIZE)}
    sampled = [
        core_node("KSampler")(
            model=model,
            seed=1,
            steps=2,
            cfg=3.0,
            sampler_name="euler",
            scheduler="normal",
            positive=positive,
            negative=negative,
            latent_image=noise,
            denoise=1.0,
        )[0]["samples"]
        for negative in (zeroed, no_reference)
    ]
    assert difference(*sampled) < 1e-5


def test_strength_interval_and_the_cls_model_reach_every_region(reference, region, color, node, model, tiny_checkpoint):
    whole, other = reference(1), reference(2)
    split = region(whole, other, ones())
    weak = node("ReferenceStrength").execute(model, 0.3).result[0]
    assert difference(color(split, model=weak), color(other, model=weak)) < 1e-5
    assert difference(color(split, end_percent=0.5), color(other, end_percent=0.5)) < 1e-5
    cls = node("LoadCheckpoint").execute(tiny_checkpoint, "auto", "cls").result[0]
    assert difference(color(split, model=cls), color(other, model=cls)) < 1e-5


@pytest.mark.parametrize(
    "patch", ["FreeU_V2", "EasyCache", "SelfAttentionGuidance", "PatchModelAddDownscale", "LoRA", "injection"]
)
def test_regions_work_beside_patches_of_the_model(reference, region, color, node, core_node, model, patch):
    if patch == "LoRA":
        patched = with_lora(model)
    elif patch == "injection":
        vae = GivenVAE(rand(1, 4, 8, 8, seed=4))
        patched = node("ReferenceInjection").execute(model, vae, torch.rand(1, 64, 64, 3), 0.5, 0.0, 0.0).result[0]
    else:
        settings = {
            "FreeU_V2": {"b1": 1.3, "b2": 1.4, "s1": 0.9, "s2": 0.2},
            "EasyCache": {"reuse_threshold": 0.0, "start_percent": 0.0, "end_percent": 1.0, "verbose": False},
            "PatchModelAddDownscale": {
                "block_number": 3,
                "downscale_factor": 2.0,
                "start_percent": 0.0,
                "end_percent": 1.0,
                "downscale_after_skip": True,
                "downscale_method": "bicubic",
                "upscale_method": "bicubic",
            },
            "SelfAttentionGuidance": {"scale": 0.5, "blur_sigma": 2.0},
        }[patch]
        patched = core_node(patch)(model=model, **settings)[0]
    other = reference(2)
    split = region(region(reference(1), other, left()), other, 1 - left())
    torch.manual_seed(0)
    expected = color(other, model=patched)
    torch.manual_seed(0)
    assert difference(color(split, model=patched), expected) < 1e-4


def with_lora(model):
    import comfy.sd

    key = "lora_unet_input_blocks_1_1_transformer_blocks_0_attn2_to_v.lora_{}.weight"
    lora = {key.format("down"): rand(4, WIDTH, seed=5), key.format("up"): rand(32, 4, seed=6)}
    return comfy.sd.load_lora_for_models(model, None, lora, 1.0, 0.0)[0]


def test_regions_may_change_after_compiling(reference, region, color, core_node, model):
    """The compiled model never looks at transformer_options again."""
    compiled = core_node("TorchCompileModel")(model=model, backend="eager")[0]
    for strength, mask in ((0.3, left()), (1.5, 1 - left())):
        split = region(reference(1), reference(2), mask, strength)
        assert difference(color(split, model=compiled, steps=1), color(split, steps=1)) < 1e-4


def test_a_larger_latent_has_the_masks_at_its_own_size(reference, region, color):
    other = reference(2)
    split = region(region(reference(1), other, left()), other, 1 - left())
    assert difference(color(split, size=24, steps=1), color(other, size=24, steps=1)) < 1e-5


class GivenVAE:
    def __init__(self, latent):
        self.latent = latent

    def encode(self, pixels):
        return self.latent


def test_an_area_sees_its_part_of_the_masks(reference, region, pack, node, model, core_node):
    sketch = pack.colorize_core.sketch.Sketch(-torch.ones(1, 3, 8 * SIZE, 8 * SIZE))
    other = reference(2)

    def sampled(tokens):
        positive, no_reference, _ = node("Conditioning").execute(tokens, sketch).result
        half = core_node("ConditioningSetArea")(
            conditioning=positive, width=4 * SIZE, height=8 * SIZE, x=4 * SIZE, y=0, strength=1.0
        )[0]
        return core_node("KSampler")(
            model=model,
            seed=1,
            steps=1,
            cfg=1.0,
            sampler_name="euler",
            scheduler="normal",
            positive=half,
            negative=no_reference,
            latent_image={"samples": torch.zeros(1, 4, SIZE, SIZE)},
            denoise=1.0,
        )[0]["samples"]

    right_is_other = sampled(region(reference(1), other, 1 - left()))
    assert difference(right_is_other, sampled(other)) < 1e-5
    assert difference(sampled(region(reference(1), other, left())), sampled(reference(1))) < 1e-5


def test_wrong_regions_say_what_is_wrong(reference, region, color, pack):
    whole = reference(1)
    wide = rand(1, 16, 48)
    narrow = pack.colorize_core.tokens.ReferenceTokens(cls=wide[:, :1], local=wide)
    with pytest.raises(ValueError, match=r"^region_tokens of region 1: its tokens are 48 wide and the model takes 64"):
        color(region(whole, narrow, ones()))
    with pytest.raises(ValueError, match=r"^mask of region 2: there are 3 masks for 1 picture"):
        color(region(region(whole, whole, ones()), whole, ones().repeat(3, 1, 1)))
    with pytest.raises(ValueError, match=r"^region_tokens: they have regions themselves"):
        region(whole, region(whole, whole, ones()), ones())
    with pytest.raises(ValueError, match=r"^mask: .*NaN"):
        region(whole, whole, ones(float("nan")))

"""The reference's tokens as the model's context: plain conditionings, dropped ones, CLS tokens, another CLIP's."""

import pytest
import torch
from small import SIZE, rand


def test_conditioning_without_our_keys_means_no_sketch_and_these_tokens(ksampler, condition, tokens, sketch):
    _, _, no_sketch = condition(tokens(), sketch())
    plain = [[tokens().local, {}]]
    assert torch.equal(ksampler(positive=plain, cfg=1.0), ksampler(positive=no_sketch, cfg=1.0))


def test_conditioning_of_nothing_is_a_dropped_reference(core_node, ksampler, condition, tokens, sketch, assert_golden):
    positive, no_reference, no_sketch = condition(tokens(), sketch())
    zeroed = core_node("ConditioningZeroOut")(conditioning=positive)[0]
    assert torch.equal(ksampler(negative=zeroed), ksampler(negative=no_reference))
    blank = core_node("ConditioningZeroOut")(conditioning=no_sketch)[0]
    assert_golden(ksampler(negative=[[None, {}]]), ksampler(negative=blank))


def test_conditioning_average_blends_two_references(core_node, ksampler, condition, tokens, sketch):
    first, second = condition(tokens(), sketch())[0], condition(tokens(seed=5), sketch())[0]
    blend = core_node("ConditioningAverage")(
        conditioning_to=first, conditioning_from=second, conditioning_to_strength=0.5
    )[0]
    by_hand = [[(first[0][0] + second[0][0]) / 2, first[0][1]]]
    torch.testing.assert_close(ksampler(positive=blend), ksampler(positive=by_hand), atol=1e-3, rtol=1e-3)


def test_tokens_of_another_clip_are_refused(pack, colorize):
    other = pack.colorize_core.tokens.ReferenceTokens(cls=rand(1, 1, 96), local=rand(1, 16, 96))
    with pytest.raises(ValueError, match="96 wide and the model takes 64"):
        colorize(tokens=other)


def test_a_cls_model_takes_the_cls_token(node, host, tiny_checkpoint, ksampler, core_node, condition, tokens, sketch):
    cls_model = node("LoadCheckpoint").execute(tiny_checkpoint, token_type="cls").result[0]
    positive, no_reference, _ = condition(tokens(), sketch())
    by_hand = [[positive[0][1]["colorize_cls"], positive[0][1]]]
    nothing = [[no_reference[0][1]["colorize_cls"], no_reference[0][1]]]
    assert torch.equal(ksampler(model=cls_model, positive=positive), ksampler(positive=by_hand, negative=nothing))
    zeroed = core_node("ConditioningZeroOut")(conditioning=positive)[0]
    assert torch.equal(
        ksampler(model=cls_model, negative=zeroed), ksampler(model=cls_model, negative=no_reference)
    )  # although zeroing leaves the CLS token where it is


def test_a_cls_model_drops_the_reference_of_the_rows_that_have_none(
    node, tiny_checkpoint, ksampler, condition, tokens, sketch, assert_golden
):
    cls_model = node("LoadCheckpoint").execute(tiny_checkpoint, token_type="cls").result[0]
    one, dropped, _ = condition(tokens(), sketch())
    both = [
        [torch.cat([one[0][0], dropped[0][0]]), one[0][1] | {"colorize_cls": one[0][1]["colorize_cls"].repeat(2, 1, 1)}]
    ]
    latent = {"samples": rand(1, 4, SIZE, SIZE).repeat(2, 1, 1, 1)}
    settings = {"model": cls_model, "cfg": 1.0, "latent_image": latent}
    out = ksampler(positive=both, **settings)
    assert_golden(out[:1], ksampler(positive=one, **settings)[:1])
    assert_golden(out[1:], ksampler(positive=dropped, **settings)[1:])

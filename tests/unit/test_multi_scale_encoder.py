import pytest
import torch

from colorize_core.networks.multi_scale_encoder import (
    MultiScaleSketchEncoder,
    ScaleCausalAttention,
    rotary_angles,
    rotate,
)
from colorize_core.versions.xl import VERSION


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


def encoder():
    torch.manual_seed(0)
    return MultiScaleSketchEncoder(model_channels=16, head_width=16)


def test_a_hint_has_the_size_that_a_latent_of_any_size_has_at_its_level():
    for height, width in (16, 24), (9, 13), (1, 1):
        hints = encoder()(torch.zeros(1, 3, 8 * height, 8 * width))
        for hint, downscale in zip(hints, VERSION.hints.downscales, strict=True):
            assert hint.shape[2:] == (-(-height // downscale), -(-width // downscale))


def test_width_and_multipliers_give_the_channels():
    hints = MultiScaleSketchEncoder(16, (1, 2, 3), head_width=8)(torch.zeros(1, 3, 64, 64))
    assert [hint.shape[1] for hint in hints] == [16, 16, 32, 48]


def test_each_sketch_of_a_batch_keeps_its_own_hints():
    network, sketches = encoder(), torch.randn(2, 3, 64, 96)
    for both, first, second in zip(network(sketches), network(sketches[:1]), network(sketches[1:]), strict=True):
        assert torch.allclose(both, torch.cat([first, second]), atol=1e-5)


def test_a_map_sees_the_mean_itself_and_coarser_maps_but_no_finer_one():
    torch.manual_seed(0)
    attention = ScaleCausalAttention(16, 8, {})
    mean, maps = torch.randn(1, 16, 1, 1), [torch.randn(1, 16, side, side) for side in (1, 2, 4)]
    before = attention(mean, maps)
    assert not torch.equal(attention(mean + 1, maps)[0], before[0])
    for changed in range(3):
        other = [x + (i == changed) * torch.randn(x.shape) for i, x in enumerate(maps)]
        for k, (now, then) in enumerate(zip(attention(mean, other), before, strict=True)):
            assert torch.equal(now, then) == (k < changed)


def test_a_rotation_depends_on_row_and_column_and_keeps_lengths():
    heads = torch.randn(1, 1, 6, 8)
    turned = rotate(heads, rotary_angles(2, 3, 8, heads.device))
    assert torch.equal(turned[:, :, 0], heads[:, :, 0])
    assert torch.allclose(turned.norm(dim=-1), heads.norm(dim=-1), atol=1e-5)
    assert torch.equal(turned[:, :, 1, :4], heads[:, :, 1, :4])  # (0, 1): the row's half stays
    assert torch.equal(turned[:, :, 3, 4:], heads[:, :, 3, 4:])  # (1, 0): the column's half stays


def test_the_product_of_two_rotated_tokens_depends_on_their_distance_alone():
    query, key = torch.randn(2, 8)
    angles = rotary_angles(4, 4, 8, query.device)
    queries, keys = (rotate(x.expand(1, 1, 16, 8), angles)[0, 0].unflatten(0, (4, 4)) for x in (query, key))
    products = [queries[i, j] @ keys[i + 1, j + 2] for i in range(3) for j in range(2)]
    assert torch.allclose(torch.stack(products), products[0].expand(6), atol=1e-5)

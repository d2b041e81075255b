import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from colorize_core.manipulation import (
    THRESHOLDS,
    auto_thresholds,
    checked_thresholds,
    correlation,
    local_edit,
    manipulate_global,
    manipulate_local,
    mask_to_tokens,
    position_weights,
    positions,
    token_grid,
)

DEFAULT = checked_thresholds(THRESHOLDS)
seeds = st.integers(0, 2**32 - 1)
scales = st.floats(0, 15, width=32)
in_order = (
    st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4, unique=True)
    .map(sorted)
    .map(torch.tensor)
    .filter(lambda h: (h.diff() > 0).all())
)


def text(seed: int, width: int = 16) -> torch.Tensor:
    vector = torch.randn(width, generator=torch.Generator().manual_seed(seed))
    return vector / vector.norm()


def reference(seed: int, batch: int = 2, tokens: int = 9, width: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    """CLS tokens [B,1,D] and local tokens [B,N,D]."""
    both = torch.randn(batch, 1 + tokens, width, generator=torch.Generator().manual_seed(seed))
    return both[:, :1], both[:, 1:]


def weights_for(local: torch.Tensor, control: torch.Tensor, thresholds=DEFAULT) -> torch.Tensor:
    return position_weights(positions(correlation(local, control)), thresholds)


class TestGlobal:
    @given(seeds, scales)
    @settings(max_examples=30, deadline=None)
    def test_without_anchor_and_enhance_the_correlation_with_the_target_becomes_the_scale(self, seed, scale):
        cls, _ = reference(seed)
        target = text(seed + 1)
        edited = manipulate_global(cls, target, scale=scale)
        assert torch.allclose(correlation(edited, target), torch.full((2, 1), scale), atol=1e-4)

    @given(seeds, scales)
    @settings(max_examples=30, deadline=None)
    def test_an_anchor_with_enhance_leaves_nothing_of_the_anchor_but_what_the_target_brings(self, seed, scale):
        cls, _ = reference(seed)
        target, anchor = text(seed + 1), text(seed + 2)
        edited = manipulate_global(cls, target, anchor, scale, enhance=True)
        expected = scale * (target @ anchor)
        assert torch.allclose(correlation(edited, anchor), expected.expand(2, 1), atol=1e-4)

    def test_an_anchor_equal_to_the_target_changes_nothing(self):
        cls, _ = reference(0)
        assert torch.equal(manipulate_global(cls, text(1), text(1), 5.0), cls)

    def test_tokens_that_are_not_finite_are_an_error(self):
        cls, _ = reference(0)
        cls[1, 0, 3] = float("inf")
        with pytest.raises(ValueError, match="NaN or infinite"):
            manipulate_global(cls, text(1))


class TestWeights:
    @given(in_order, st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20))
    @settings(max_examples=200, deadline=None)
    def test_they_are_finite_and_piecewise_for_any_thresholds_in_order(self, thresholds, values):
        weights = position_weights(torch.tensor([values]), thresholds)[0]
        h0, h1, h2, h3 = thresholds.double().tolist()
        for n, weight in zip(torch.tensor(values).double().tolist(), weights.tolist(), strict=True):
            if n <= h0:
                expected = -2
            elif n <= h1:
                expected = -1 + (n - h0) / (h1 - h0)
            elif n <= h2:
                expected = 0.5 * (n - h1) / (h2 - h1)
            elif n <= h3:
                expected = 0.5 + 0.5 * (n - h2) / (h3 - h2)
            else:
                expected = 1
            assert weight == pytest.approx(expected, abs=1e-5)

    def test_where_all_tokens_are_equal_all_count_in_full(self):
        flat = positions(torch.full((1, 9), 3.0))
        for thresholds in (DEFAULT, checked_thresholds((0, 0.1, 0.2, 1)), auto_thresholds(flat)):
            assert torch.equal(position_weights(flat, thresholds), torch.ones(1, 9))

    def test_each_reference_is_normalised_on_its_own(self):
        low, high = torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[100.0, 300.0, 500.0]])
        first, second = positions(torch.cat([low, high]))
        assert torch.equal(first, second)

    @pytest.mark.parametrize(
        "thresholds",
        [
            (0.5, 0.5, 0.6, 0.9),
            (0.6, 0.5, 0.7, 0.9),
            (-0.1, 0.5, 0.6, 0.9),
            (0.1, 0.5, 0.6, 1.1),
            (0, float("nan"), 0.5, 1),
        ],
    )
    def test_thresholds_out_of_order_or_range_are_an_error_that_shows_them(self, thresholds):
        with pytest.raises(ValueError, match=f"{thresholds[0]:g}, {thresholds[1]:g}, .* greater than the one before"):
            checked_thresholds(thresholds)


class TestLocal:
    @given(seeds, st.booleans())
    @settings(max_examples=30, deadline=None)
    def test_a_scale_that_is_already_reached_changes_nothing_without_enhance(self, seed, has_anchor):
        cls, local = reference(seed, batch=1)
        target, control = text(seed + 1), text(seed + 2)
        scale = correlation(cls, target).item()
        anchor = text(seed + 3) if has_anchor else None
        edited = manipulate_local(cls, local, weights_for(local, control), target, anchor, scale)
        assert torch.allclose(edited, local, atol=1e-5)

    @given(seeds, scales, st.booleans())
    @settings(max_examples=30, deadline=None)
    def test_a_mask_of_zeros_changes_no_token(self, seed, scale, enhance):
        cls, local = reference(seed)
        weights = weights_for(local, text(seed + 2))
        mask = torch.zeros(2, 9)
        edited = manipulate_local(cls, local, weights, text(seed + 1), text(seed + 3), scale, enhance, mask)
        assert torch.equal(edited, local)

    @given(seeds, scales, st.booleans())
    @settings(max_examples=30, deadline=None)
    def test_a_batch_is_its_references_one_by_one(self, seed, scale, enhance):
        cls, local = reference(seed, batch=3)
        target, anchor = text(seed + 1), text(seed + 2)

        def edit(cls, local):
            position = positions(correlation(local, anchor))
            weights = position_weights(position, auto_thresholds(position))
            return manipulate_local(cls, local, weights, target, anchor, scale, enhance)

        alone = [edit(cls[i : i + 1], local[i : i + 1]) for i in range(3)]
        assert torch.allclose(edit(cls, local), torch.cat(alone), atol=1e-5)

    def test_half_a_mask_adds_half(self):
        cls, local = reference(0)
        weights = weights_for(local, text(2))
        whole = manipulate_local(cls, local, weights, text(1), mask=torch.ones(2, 9)) - local
        half = manipulate_local(cls, local, weights, text(1), mask=torch.full((2, 9), 0.5)) - local
        assert torch.allclose(half, whole / 2, atol=1e-5) and whole.abs().max() > 1

    def test_an_anchor_equal_to_the_target_changes_nothing(self):
        cls, local = reference(0)
        edited = manipulate_local(cls, local, weights_for(local, text(2)), text(1), text(1), enhance=True)
        assert torch.equal(edited, local)

    def test_inputs_stay_as_they_are(self):
        cls, local = reference(0)
        before = local.clone()
        manipulate_local(cls, local, weights_for(local, text(2)), text(1), text(3), enhance=True)
        assert torch.equal(local, before)

    def test_tokens_that_are_not_finite_are_an_error(self):
        cls, local = reference(0)
        weights = weights_for(local, text(2))
        local[0, 4, 2] = float("nan")
        with pytest.raises(ValueError, match="NaN or infinite"):
            manipulate_local(cls, local, weights, text(1))
        with pytest.raises(ValueError, match="NaN or infinite"):
            weights_for(local, text(2))


class TestAutomaticThresholds:
    @given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=64))
    @settings(max_examples=200, deadline=None)
    def test_they_are_in_order_whatever_the_distribution(self, values):
        thresholds = auto_thresholds(positions(torch.tensor([values])))
        assert torch.equal(checked_thresholds(thresholds[0].tolist()), thresholds[0])

    def test_they_are_found_without_double_precision_which_metal_lacks(self):
        class NoDouble(TorchDispatchMode):
            def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
                out = operation(*args, **kwargs or {})
                assert not (isinstance(out, torch.Tensor) and out.dtype == torch.float64), operation
                return out

        with NoDouble():
            auto_thresholds(torch.linspace(0, 1, 256)[None])

    @pytest.mark.parametrize("share", [0.04, 0.2, 0.5, 0.9])
    def test_a_region_counts_in_full_and_its_surroundings_hardly(self, share):
        inside = torch.arange(256) < share * 256
        noise = torch.randn(256, generator=torch.Generator().manual_seed(0))
        correlations = torch.where(inside, 8.0, 1.0) + 0.5 * noise
        position = positions(correlations[None])
        weights = position_weights(position, auto_thresholds(position))[0]
        assert weights[inside].mean() > 0.85 and weights[inside].min() > 0.5
        assert weights[~inside].mean().abs() < 0.3 and weights[~inside].max() < 0.5

    def test_the_third_lies_halfway_from_the_border_to_a_typical_token_of_the_region(self):
        _, _, h2, h3 = auto_thresholds(torch.linspace(0, 1, 1025)[None])[0].tolist()  # parted in the middle
        assert h3 == pytest.approx(0.75, abs=1 / 256) and h2 == pytest.approx(0.625, abs=1 / 256)

    def test_the_second_is_found_to_a_128th(self):
        seeded = torch.Generator().manual_seed(0)
        position = positions(torch.rand(20, 256, generator=seeded) ** torch.linspace(0.5, 3, 20)[:, None])
        parts = auto_thresholds(position)[:, 1] * 128
        assert torch.equal(parts, parts.round()) and parts.min() == 1

    def test_they_do_not_depend_on_the_order_of_the_tokens(self):
        position = torch.rand(1, 256, generator=torch.Generator().manual_seed(0))
        assert torch.equal(auto_thresholds(position), auto_thresholds(position.flip(1)))


class TestMask:
    def test_a_token_gets_the_mean_of_its_area(self):
        mask = torch.zeros(1, 8, 8)
        mask[0, :, :3] = 1  # a column and a half of a 4x4 grid
        assert torch.equal(mask_to_tokens(mask, (4, 4)), torch.tensor([[1, 0.5, 0, 0] * 4]))

    @pytest.mark.parametrize("size", [(1, 1), (7, 911), (16, 16), (4096, 64)])
    @pytest.mark.parametrize("grid", [(16, 16), (3, 5)])
    def test_a_full_mask_of_any_size_is_full_on_any_grid(self, size, grid):
        tokens = mask_to_tokens(torch.ones(2, *size), grid)
        assert torch.allclose(tokens, torch.ones(2, grid[0] * grid[1]))

    def test_a_mask_without_a_batch_is_one_mask(self):
        mask = torch.rand(8, 6, generator=torch.Generator().manual_seed(0))
        assert torch.equal(mask_to_tokens(mask, (4, 3)), mask_to_tokens(mask[None], (4, 3)))

    def test_tokens_run_row_by_row(self):
        mask = torch.zeros(1, 30, 20)
        mask[0, :10] = 1
        assert torch.equal(mask_to_tokens(mask, (3, 2)), torch.tensor([[1.0, 1, 0, 0, 0, 0]]))

    def test_tokens_that_form_no_square_are_an_error(self):
        assert token_grid(256) == (16, 16)
        with pytest.raises(ValueError, match="300 local tokens"):
            token_grid(300)


class TestLocalEdit:
    @given(seeds, scales)
    @settings(max_examples=20, deadline=None)
    def test_it_moves_the_tokens_by_their_likeness_to_the_control(self, seed, scale):
        cls, local = reference(seed)
        target, anchor, control = (text(seed + k) for k in (1, 2, 3))
        edit = local_edit(cls, local, target, anchor, control, scale, enhance=True)
        weights = weights_for(local, control)
        assert torch.equal(edit.weights, weights)
        assert torch.equal(edit.thresholds, DEFAULT.expand(2, -1))
        assert torch.equal(edit.local, manipulate_local(cls, local, weights, target, anchor, scale, enhance=True))

    def test_automatic_thresholds_are_each_references_own(self):
        cls, local = reference(0)
        edit = local_edit(cls, local, text(1), control=text(2), thresholds=None)
        assert torch.equal(edit.thresholds, auto_thresholds(positions(correlation(local, text(2)))))

    def test_without_a_control_all_tokens_move_alike_but_for_the_mask(self):
        cls, local = reference(0)
        mask = torch.zeros(1, 30, 30)
        mask[:, :10] = 0.5
        edit = local_edit(cls, local, text(1), mask=mask)
        assert edit.thresholds is None
        assert torch.equal(edit.weights, torch.tensor([0.5] * 3 + [0.0] * 6).expand(2, -1))
        assert torch.equal(edit.local[:, 3:], local[:, 3:]) and not torch.equal(edit.local[:, :3], local[:, :3])

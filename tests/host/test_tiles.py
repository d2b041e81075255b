"""Tiled sampling: sketch and regions follow the tile, whoever cuts it."""

import pytest
import torch
from small import empty_latent, rand
from tiles import in_areas, in_tiles

SIZE = 24  # of the latent: a tile of 12 does not begin where the coarsest map has a pixel


@pytest.fixture
def two_references(node, tokens):
    """Tokens of a reference with a region that is the left half of the picture."""
    mask = torch.zeros(1, 8 * SIZE, 8 * SIZE)
    mask[..., : 4 * SIZE] = 1
    return node("RegionReference").execute(tokens(), tokens(seed=5), mask, 1.0).result[0]


@pytest.fixture
def sample(ksampler):
    """`sample(model, positive)`: a latent after one step without guidance."""
    return lambda model, positive: ksampler(model=model, size=SIZE, positive=positive, cfg=1.0, steps=1)


@pytest.mark.parametrize(("height", "width"), [(12, 12), (24, 12), (8, 24)])
def test_a_tile_sees_its_part_of_sketch_and_regions(
    core_node, model, condition, two_references, sketch, sample, assert_golden, height, width
):
    """As an area does, that the host cuts itself."""
    positive = condition(two_references, sketch(size=SIZE))[0]
    areas = in_areas(core_node("ConditioningSetArea"), positive, (SIZE, SIZE), height, width)
    assert_golden(sample(in_tiles(model, height, width), positive), sample(model, areas))


def test_rows_with_and_without_a_reference_share_the_tiles(
    core_node, model, ksampler, condition, two_references, sketch, passes, assert_golden
):
    rows = dict(zip(("positive", "negative"), condition(two_references, sketch(size=SIZE)), strict=False))
    out = ksampler(model=in_tiles(model, 12, 12), size=SIZE, steps=1, **rows)
    assert [list(x.shape) for x in passes] == [[2 * 4, 4, 12, 12]]
    set_area = core_node("ConditioningSetArea")
    areas = {name: in_areas(set_area, row, (SIZE, SIZE), 12, 12) for name, row in rows.items()}
    assert_golden(out, ksampler(model=model, size=SIZE, steps=1, **areas))


@pytest.mark.parametrize("dim", [2, 3])
def test_a_context_window_over_rows_or_columns_sees_its_part(
    core_node, model, condition, two_references, sketch, sample, assert_golden, dim
):
    """Stock Context Windows, which slide along one dimension of the latent."""
    windows = core_node("ContextWindowsManual")(
        model=model,
        context_length=12,
        context_overlap=0,
        context_schedule="standard_static",
        context_stride=1,
        closed_loop=False,
        fuse_method="flat",
        dim=dim,
        freenoise=False,
        causal_window_fix=False,
    )[0]
    positive = condition(two_references, sketch(size=SIZE))[0]
    height, width = (12, SIZE) if dim == 2 else (SIZE, 12)
    areas = in_areas(core_node("ConditioningSetArea"), positive, (SIZE, SIZE), height, width)
    assert_golden(sample(windows, positive), sample(model, areas))


def test_tiles_that_are_sampled_apart_take_a_tile_of_drawing_and_mask(
    node, core_node, pack, colorize, tokens, sketch, two_references, assert_golden
):
    """Stock Split Image into List of Tiles: each tile is a picture of its own, with its own sketch and mask."""
    half = 4 * SIZE
    pixels, mask = sketch(size=SIZE).pixels, two_references.regions[0].mask
    tiled = [
        core_node("SplitImageToTileList")(image=image, tile_width=half, tile_height=half, overlap=0)[0]
        for image in (pixels.movedim(1, -1), mask[..., None])
    ]
    assert len(tiled[0]) == len(tiled[1]) == 4
    build, alone = pack.colorize_core.sketch.Sketch, (tokens(seed=5), tokens())  # inside the region, outside of it
    for i, (sketch_tile, mask_tile) in enumerate(zip(*tiled, strict=True)):
        inputs = {"sketch": build(sketch_tile.movedim(-1, 1)), "latent": empty_latent(size=SIZE // 2)}
        split = node("RegionReference").execute(tokens(), tokens(seed=5), mask_tile[..., 0], 1.0).result[0]
        assert_golden(colorize(tokens=split, **inputs), colorize(tokens=alone[i % 2], **inputs))


def test_a_compiled_model_takes_tiles_that_lie_elsewhere(model, condition, tokens, sketch, assert_golden):
    """One graph for all tiles: where they lie is a tensor."""
    from comfy_extras.nodes_torch_compile import skip_torch_compile_dict

    unet = model.model.diffusion_model
    compiled = torch.compile(unet, backend="eager", options={"guard_filter_fn": skip_torch_compile_dict})
    whole = rand(1, 4, SIZE, SIZE)
    ((local, values),) = condition(tokens(), sketch(size=SIZE))[0]
    conds = model.model.extra_conds(noise=whole, device=whole.device, cross_attn=local, **values)
    keywords = {name: cond.cond for name, cond in conds.items() if name != "reference_interval"}
    context, position = keywords.pop("c_crossattn"), keywords.pop("sketch_position")
    outputs = []
    for left in (0, 12):
        tile = whole[..., :12], torch.tensor([500.0]), context
        where = position[..., left : left + 12]
        outputs.append(compiled(*tile, **keywords, sketch_position=where, transformer_options={}))
        expected = unet(*tile, **keywords, sketch_position=where, transformer_options={})
        assert_golden(outputs[-1], expected)
    assert not torch.allclose(*outputs, atol=1e-2)

"""Sketches and references of any size and kind through their nodes: a result or a sentence."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

SIZES = [(1, 1), (911, 37), (64, 4096), (500, 333)]


def drawing(height: int, width: int, channels: int = 3, batch: int = 1) -> torch.Tensor:
    """Black lines on white paper, [batch,height,width,channels]."""
    image = torch.ones(batch, height, width, channels)
    image[:, height // 2, : width // 2, :3] = 0.0
    return image


@pytest.fixture
def prepare(node):
    """Prepare Sketch with its defaults at 128x192 -> (sketch_image, latent)."""
    defaults = {"width": 192, "height": 128, "polarity": "auto", "batch_size": 1}
    return lambda image, **more: node("PrepareSketch").execute(image=image, **(defaults | more)).result


@pytest.fixture
def clip_vision(node, tiny_clip):
    return node("LoadCLIP").execute(clip_name=tiny_clip).result[0]


@pytest.fixture
def encode_reference(node, clip_vision):
    return lambda image: node("EncodeReference").execute(clip_vision=clip_vision, image=image).result[0]


# Sketches


@pytest.mark.parametrize(("batch_size", "pictures"), [(0, 3), (1, 1), (5, 5)])
def test_as_many_pictures_are_made_as_asked_for_or_as_there_are_drawings(prepare, batch_size, pictures):
    drawings = torch.ones(3, 64, 64, 3)
    drawings[:, 20] = 0
    lines, latent = prepare(drawings, batch_size=batch_size)
    assert len(lines) == 3 and len(latent["samples"]) == pictures


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("batch", [1, 3])
def test_any_drawing_becomes_white_lines_on_a_black_canvas_of_the_size_asked_for(size, channels, batch, prepare):
    image = drawing(*size, channels, batch)
    sketch, _ = prepare(image)
    assert sketch.shape == (batch, 128, 192, 3) and sketch.isfinite().all()
    assert sketch.min() == 0 and sketch.max() <= 1 and sketch.median() == 0
    assert torch.equal(image, drawing(*size, channels, batch))


def test_the_latent_is_the_cores_empty_latent(prepare, core_node):
    _, latent = prepare(drawing(50, 50), width=192, height=128, batch_size=3)
    (empty,) = core_node("EmptyLatentImage")(width=192, height=128, batch_size=3)
    assert latent.keys() == empty.keys() and latent["downscale_ratio_spacial"] == empty["downscale_ratio_spacial"]
    assert torch.equal(latent["samples"], empty["samples"]) and latent["samples"].dtype == empty["samples"].dtype


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 3), (4, 1)])
@pytest.mark.parametrize(("height", "width"), [*SIZES, (64, 64), (63, 127), (7, 399)])
def test_crop_to_sketch_undoes_prepare_sketch(height, width, rows, columns, prepare, node):
    ink = torch.ones(1, height, width, 3)
    canvas, _ = prepare(ink, height=64 * rows, width=64 * columns, polarity="white lines on black")
    (part,) = node("CropToSketch").execute(image=canvas, sketch=ink).result
    assert part.min() > 0.99 and part.shape[1] * part.shape[2] == (canvas[..., 0] > 0.5).sum()
    (part,) = node("CropToSketch").execute(image=canvas, sketch=ink, resize_to_sketch=True).result
    assert part.shape == ink.shape


def test_crop_to_sketch_follows_an_upscaled_result(prepare, node):
    ink = torch.ones(1, 100, 50, 3)
    canvas, _ = prepare(ink, polarity="white lines on black")
    doubled = canvas.repeat_interleave(2, 1).repeat_interleave(2, 2)
    (part,) = node("CropToSketch").execute(image=doubled, sketch=ink).result
    assert part.shape == (1, 256, 128, 3) and part.min() > 0.99


def test_a_sketch_carries_its_pixels_and_strength(prepare, node, pack):
    image, _ = prepare(drawing(128, 192))
    (sketch,) = node("EncodeSketch").execute(sketch_image=image, strength=0.7).result
    assert isinstance(sketch, pack.colorize_core.sketch.Sketch) and sketch.strength == 0.7
    assert torch.equal(sketch.pixels, image.movedim(-1, 1) * 2 - 1)


def test_a_drawing_that_was_not_prepared_is_warned_about(node, caplog):
    node("EncodeSketch").execute(sketch_image=drawing(64, 64), strength=1.0)
    assert "Prepare Sketch" in caplog.text


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_broken_pictures_are_refused_in_a_sentence(broken, prepare, node, encode_reference):
    image = torch.full((1, 32, 32, 3), broken)
    uses = {
        "image": prepare,
        "sketch_image": lambda image: node("EncodeSketch").execute(sketch_image=image, strength=1.0),
        "image: ": encode_reference,
        "sketch": lambda image: node("CropToSketch").execute(image=drawing(8, 8), sketch=image),
    }
    for name, use in uses.items():
        with pytest.raises(ValueError, match=f"^{name}.*NaN"):
            use(image)


def test_a_half_gray_picture_asks_for_the_polarity(prepare):
    gray = torch.full((1, 32, 32, 3), 0.5)
    with pytest.raises(ValueError, match="Set polarity by hand"):
        prepare(gray)
    assert prepare(gray, polarity="black lines on white")[0].max() == 0.5


@pytest.fixture
def loaded(input_dir, core_node):
    """A red line on a transparent ground that hides black, as the core's Load Image gives it: IMAGE and MASK."""
    pixels = np.zeros((64, 96, 4), np.uint8)
    pixels[30:34] = (200, 0, 0, 255)
    Image.fromarray(pixels).save(input_dir / "transparent.png")
    return core_node("LoadImage")(image="transparent.png")


def test_lines_on_a_transparent_ground_are_lines(loaded, prepare, caplog):
    image, mask = loaded
    black, flat = torch.zeros(1, 64, 96, 3), torch.ones(1, 64, 96, 3)
    flat[:, 30:34] = torch.tensor([200, 0, 0]) / 255
    assert torch.equal(prepare(image, mask=mask)[0], prepare(flat)[0])
    assert not caplog.text
    prepare(black)
    assert "Transparent ground? Connect its mask." in caplog.text


def test_one_drawing_of_a_batch_that_was_not_prepared_is_warned_about(prepare, node, caplog):
    right, _ = prepare(drawing(64, 64))
    node("EncodeSketch").execute(sketch_image=torch.cat([right, right, 1 - right]), strength=1.0)
    assert "Prepare Sketch" in caplog.text


def test_the_picture_of_a_batch_whose_paper_is_unclear_is_named(prepare):
    with pytest.raises(ValueError, match="picture 2 of 3"):
        prepare(torch.cat([drawing(32, 32), torch.full((1, 32, 32, 3), 0.5), drawing(32, 32)]))


# References


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_any_reference_becomes_tokens(size, channels, encode_reference):
    tokens = encode_reference(drawing(*size, channels))
    assert tokens.cls.shape == (1, 1, 64) and tokens.local.shape == (1, 256, 64)
    assert tokens.local.isfinite().all() and tokens.local.std() > 0


def test_a_batch_of_references_is_a_batch_of_tokens(encode_reference, assert_golden):
    batch = torch.rand(3, 60, 40, 3, generator=torch.Generator().manual_seed(0))
    tokens = encode_reference(batch)
    for row in range(3):
        alone = encode_reference(batch[row : row + 1])
        assert_golden(tokens.local[row : row + 1], alone.local)
        assert_golden(tokens.cls[row : row + 1], alone.cls)


def test_transparent_parts_of_a_reference_are_white(encode_reference, assert_golden):
    image = torch.rand(1, 30, 30, 4, generator=torch.Generator().manual_seed(0))
    on_white = image[..., :3] * image[..., 3:] + 1 - image[..., 3:]
    assert_golden(encode_reference(image).local, encode_reference(on_white).local)


def test_a_reference_loaded_with_its_mask_has_a_white_ground(loaded, node, clip_vision, assert_golden):
    image, mask = loaded
    encode = node("EncodeReference").execute
    on_white = torch.where(mask[..., None] > 0.5, 1.0, image)
    (tokens,) = encode(clip_vision=clip_vision, image=image, mask=mask).result
    assert_golden(tokens.local, encode(clip_vision=clip_vision, image=on_white).result[0].local)


# In a graph


def test_pictures_travel_through_a_prompt_and_run_once(run_prompt, tiny_clip):
    prompt = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 90, "height": 40, "batch_size": 1, "color": 0xFFFFFF}},
        "2": {
            "class_type": "ColorizeDiffusion_PrepareSketch",
            "inputs": {"image": ["1", 0], "width": 128, "height": 64, "polarity": "auto", "batch_size": 2},
        },
        "3": {
            "class_type": "ColorizeDiffusion_EncodeSketch",
            "inputs": {"sketch_image": ["2", 0], "strength": 1.0},
        },
        "4": {"class_type": "ColorizeDiffusion_LoadCLIP", "inputs": {"clip_name": tiny_clip}},
        "5": {
            "class_type": "ColorizeDiffusion_EncodeReference",
            "inputs": {"clip_vision": ["4", 0], "image": ["1", 0]},
        },
        "sketch": {"class_type": "Capture", "inputs": {"value": ["3", 0]}},
        "tokens": {"class_type": "Capture", "inputs": {"value": ["5", 0]}},
        "latent": {"class_type": "Capture", "inputs": {"value": ["2", 1]}},
    }
    run = run_prompt(prompt)
    assert run.success, run.error
    assert run.captured["sketch"].pixels.shape == (1, 3, 64, 128)
    assert run.captured["tokens"].local.shape == (1, 256, 64)
    assert run.captured["latent"]["samples"].shape == (2, 4, 8, 16)
    assert not set(run_prompt(prompt).ran) & {"1", "2", "3", "4", "5"}


def test_a_file_without_the_encoder_asked_for_says_so_in_the_dialog(
    run_prompt, models_dir, golden_clip_state_dict, golden_clip_metadata
):
    text_only = {key: value for key, value in golden_clip_state_dict.items() if not key.startswith("visual.")}
    save_file(text_only, models_dir / "text_encoders" / "text-only.safetensors", golden_clip_metadata)
    prompt = {
        "1": {"class_type": "ColorizeDiffusion_LoadCLIP", "inputs": {"clip_name": "text-only.safetensors"}},
        "2": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0}},
        "3": {
            "class_type": "ColorizeDiffusion_EncodeReference",
            "inputs": {"clip_vision": ["1", 0], "image": ["2", 0]},
        },
        "tokens": {"class_type": "Capture", "inputs": {"value": ["3", 0]}},
    }
    run = run_prompt(prompt)
    assert not run.success and "text-only.safetensors has no image encoder" in run.error

"""Line Layer, Flat Colors, Palette and Save Layers in the real host."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from psd_tools import PSDImage
from psd_tools.constants import Resource

RED, BLUE = (0.8, 0.2, 0.2), (0.2, 0.2, 0.8)


def drawing(height: int = 96, width: int = 128) -> torch.Tensor:
    """Paper that a black line parts in two, [1,H,W,3]."""
    image = torch.ones(1, height, width, 3)
    image[:, :, width // 2 : width // 2 + 3] = 0
    return image


def result(size: int = 64) -> torch.Tensor:
    """A square colored picture [1,S,S,3] of `drawing`, with Prepare Sketch's margins in gray above and below."""
    image = torch.full((1, size, size, 3), 0.5)
    image[:, size // 8 : -size // 8, : size // 2] = torch.tensor(RED)
    image[:, size // 8 : -size // 8, size // 2 :] = torch.tensor(BLUE)
    return image


@pytest.fixture
def line_layer(node):
    defaults = {"line_color": "", "line_opacity": 1.0}
    return lambda *pictures, **more: node("LineLayer").execute(*pictures, **(defaults | more)).result


@pytest.fixture
def flat_colors(node):
    defaults = {"gap": -1, "detail": 0.5}
    return lambda *pictures, **more: node("FlatColors").execute(*pictures, **(defaults | more)).result


@pytest.fixture
def palette(node):
    defaults = {"colors": 8, "hex": ""}
    return lambda **more: node("Palette").execute(**(defaults | more)).result


@pytest.fixture
def save(node, host):
    """Saves with the defaults -> the files written, as paths without ending."""
    import folder_paths

    defaults = {"filename_prefix": "page", "format": "psd", "split_flats": False}

    def run(**more):
        shown = node("SaveLayers").execute(**(defaults | more)).ui.as_dict()["images"]
        return [Path(folder_paths.get_output_directory(), one["subfolder"], one["filename"]) for one in shown]

    return run


def test_margins_are_cut_and_layers_have_the_drawings_size(line_layer, flat_colors):
    image, color, lines = line_layer(result(), drawing())
    assert image.shape == color.shape == (1, 96, 128, 3) and lines.shape == (1, 96, 128)
    assert not (color == 0.5).all(dim=-1).any() and (image[:, :, 64:67] == 0).all()
    flats, under, palette = flat_colors(result(), drawing())
    assert len(palette.colors) == 2 and torch.equal(under[:, :, :60], flats[:, :, :60])
    assert (under[:, :, 64:67] == 0).all()


def test_flats_take_the_colors_of_a_palette(palette, flat_colors):
    locked, swatches = palette(hex="#ff0000 #0000ff #00ff00")
    flats, _, used = flat_colors(result(), drawing(), palette=locked)
    assert torch.equal(used.colors, locked.colors) and swatches.ndim == 4
    assert flats[0, 0, 0].tolist() == [1, 0, 0] and flats[0, 0, -1].tolist() == [0, 0, 1]


def test_a_palette_is_read_from_what_the_mask_leaves(palette):
    mask = torch.zeros(1, 64, 64)
    mask[:, :8] = mask[:, -8:] = 1
    assert len(palette(image=result())[0].colors) == 3
    assert len(palette(image=result(), mask=mask)[0].colors) == 2


def test_a_drawing_on_a_transparent_ground_needs_its_mask_only(line_layer, flat_colors):
    black = torch.zeros(1, 96, 128, 3)
    mask = drawing()[..., 0]
    for layers in (line_layer, flat_colors):
        for with_mask, plain in zip(
            layers(result(), black, mask=mask)[:2], layers(result(), drawing())[:2], strict=True
        ):
            assert torch.equal(with_mask, plain)


def test_wrong_colors_are_refused_in_a_sentence(line_layer, palette):
    with pytest.raises(ValueError, match=r"^line_color: 'blue' is no color"):
        line_layer(result(), drawing(), line_color="blue")
    with pytest.raises(ValueError, match=r"^hex: .* is no color"):
        palette(hex="#gg0000")


def opened(path: Path) -> PSDImage:
    return PSDImage.open(path.with_suffix(".psd"))


def test_a_psd_has_the_layers_and_looks_as_its_picture(save, line_layer, flat_colors):
    _, color, lines = line_layer(result(), drawing())
    flats, _, _ = flat_colors(result(), drawing())
    (path,) = save(sketch=drawing(), color=color, flats=flats, lines=lines, reference=torch.rand(1, 30, 40, 3))
    psd = opened(path)
    assert [layer.name for layer in psd] == ["Reference", "Color", "Flats", "Lines"]
    assert [layer.visible for layer in psd] == [False, True, True, True]
    assert psd[-1].blend_mode.name == "MULTIPLY" and psd.size == (128, 96)
    profile = ImageCms.ImageCmsProfile(io.BytesIO(psd.image_resources[Resource.ICC_PROFILE].data))
    assert "sRGB" in ImageCms.getProfileDescription(profile)
    merged = np.asarray(Image.open(path).convert("RGB"), int)
    assert abs(np.asarray(psd.composite(force=True).convert("RGB"), int) - merged).max() <= 1
    assert abs(np.asarray(psd.topil().convert("RGB"), int) - merged).max() == 0
    expected = flats[0].numpy() * 255
    assert abs(merged[:, :60] - expected[:, :60]).max() < 1


def test_a_reader_that_is_not_ours_sees_the_same_layers(save, line_layer, flat_colors):
    photoshop = pytest.importorskip("photoshopapi", reason="photoshopapi is built for no such machine")
    _, color, lines = line_layer(result(), drawing())
    flats, _, palette = flat_colors(result(), drawing())
    parts = {"color": color, "flats": flats, "lines": lines, "reference": torch.rand(1, 30, 40, 3)}
    (path,) = save(sketch=drawing(), split_flats=True, **parts)
    file = photoshop.LayeredFile.read(str(path.with_suffix(".psd")))
    assert (file.width, file.height) == (128, 96) and len(file.icc) > 100
    assert [layer.name for layer in file.layers] == ["Lines", "Flats", "Color", "Reference"]
    assert [layer.is_visible for layer in file.layers] == [True, True, True, False]
    assert [layer.blend_mode.name for layer in file.layers] == ["multiply", "passthrough", "normal", "normal"]
    assert len(file.layers[1].layers) == len(palette.colors) == 2
    ink = file.layers[0].get_image_data()
    assert sorted(ink) == [-1, 0, 1, 2]  # -1 is transparency; a mask would be -2
    assert np.array_equal(ink[-1], (lines[0].numpy() * 255).round()) and not ink[0].any()
    seen = np.stack([file.layers[2].get_image_data()[channel] for channel in range(3)], axis=-1)
    assert np.array_equal(seen, (color[0].numpy() * 255).round())
    with Image.open(path.with_suffix(".psd")) as merged:  # Pillow's own reader
        assert np.array_equal(np.asarray(merged.convert("RGB")), np.asarray(Image.open(path).convert("RGB")))


@pytest.mark.parametrize("line_color", ["", "#ffffff"])
def test_colored_lines_keep_their_color_in_the_layer_and_are_not_multiplied(save, line_layer, line_color):
    sketch = drawing() * 0.5 + 0.5 * torch.tensor([0.2, 0.4, 0.8])
    sketch[drawing() == 1] = 1
    image, color, lines = line_layer(result(), sketch, line_color=line_color)
    (path,) = save(sketch=sketch, color=color, lines=lines, line_color=line_color)
    psd = opened(path)
    assert psd[-1].blend_mode.name == "NORMAL"
    merged = np.asarray(Image.open(path).convert("RGB"), int)
    assert abs(merged - image[0].numpy() * 255).max() <= 1
    assert abs(np.asarray(psd.composite(force=True).convert("RGB"), int) - merged).max() <= 1


def test_a_drawing_that_is_mostly_dark_is_warned_of(line_layer, flat_colors, save, caplog):
    line_layer(result(), drawing())
    assert not caplog.messages
    line_layer(result(), 1 - drawing())
    flat_colors(result(), 1 - drawing())
    save(sketch=1 - drawing(), color=result())
    assert [message.split(":")[0] for message in caplog.messages] == ["Line Layer", "Flat Colors", "Save Layers"]
    assert all("Invert Image" in message for message in caplog.messages)


def test_without_lines_the_drawing_is_multiplied_over_the_color(save, line_layer):
    gray = drawing() * 0.7 + 0.3
    (path,) = save(sketch=gray, color=torch.full((1, 96, 128, 3), 0.5))
    merged = np.asarray(Image.open(path), int)
    assert abs(merged[0, 65] - 255 * 0.15).max() <= 1 and abs(merged[0, 0] - 255 * 0.5).max() <= 1


def test_split_flats_are_a_layer_for_each_color_in_a_group(save, flat_colors):
    flats, _, palette = flat_colors(result(), drawing())
    (path,) = save(sketch=drawing(), color=result(), flats=flats, split_flats=True)
    psd = opened(path)
    group = psd[1]
    assert group.name == "Flats" and group.is_group() and len(group) == len(palette.colors)
    merged = np.asarray(Image.open(path).convert("RGB"), int)
    assert abs(np.asarray(psd.composite(force=True).convert("RGB"), int) - merged).max() <= 1
    with pytest.raises(ValueError, match=r"^flats: it has \d+ colors"):
        save(sketch=drawing(), color=result(), flats=torch.rand(1, 96, 128, 3), split_flats=True)


def test_an_openraster_file_says_what_lies_where(save, line_layer):
    _, color, _ = line_layer(result(), drawing())
    (path,) = save(sketch=drawing(), color=color, format="ora", reference=result())
    with zipfile.ZipFile(path.with_suffix(".ora")) as archive:
        first = archive.infolist()[0]
        assert first.filename == "mimetype" and first.compress_type == zipfile.ZIP_STORED
        assert archive.read("mimetype") == b"image/openraster"
        stack = archive.read("stack.xml").decode()
        assert stack.index("Lines") < stack.index("Color") < stack.index("Reference")
        assert 'composite-op="svg:multiply"' in stack and 'visibility="hidden"' in stack
        with archive.open("mergedimage.png") as merged:
            assert np.array_equal(np.asarray(Image.open(merged)), np.asarray(Image.open(path)))


def test_files_are_numbered_and_a_batch_is_a_file_for_each_drawing(save):
    drawings = drawing().repeat(3, 1, 1, 1)
    names = [path.name for _ in range(2) for path in save(sketch=drawings, color=result(), filename_prefix="a/frame")]
    assert names == [f"frame_{number:05}_.png" for number in range(1, 7)]
    names = [path.name for path in save(sketch=drawings[:1], color=result().repeat(2, 1, 1, 1), filename_prefix="b/c")]
    assert names == ["c_00001_.png", "c_00002_.png"]


@pytest.mark.parametrize("size", [(1, 1), (911, 37), (64, 8192)])
@pytest.mark.parametrize("tone", [0.0, 1.0])
def test_a_blank_or_a_black_drawing_of_any_size_goes_through_all_nodes(line_layer, flat_colors, save, size, tone):
    sketch = torch.full((1, *size, 4), tone)
    sketch[..., 3] = 1
    _, color, lines = line_layer(result(), sketch)
    flats, _, palette = flat_colors(result(), sketch)
    assert (lines == 1 - tone).all() and len(palette.colors) >= 1
    for file_format in ("psd", "ora"):
        (path,) = save(sketch=sketch, color=color, flats=flats, lines=lines, format=file_format)
        assert Image.open(path).size == size[::-1] and path.with_suffix(f".{file_format}").exists()


def test_three_drawings_share_one_picture_and_one_reference(line_layer, flat_colors, save):
    drawings, reference = drawing().repeat(3, 1, 1, 1), torch.rand(1, 20, 20, 3)
    drawings[1] = 1
    _, color, lines = line_layer(result(), drawings)
    flats, _, _ = flat_colors(result(), drawings)
    assert len(color) == len(lines) == len(flats) == 3
    paths = save(sketch=drawings, color=color, flats=flats, lines=lines, reference=reference)
    assert [opened(path)[0].name for path in paths] == ["Reference"] * 3


def test_nothing_stays_behind_when_the_layers_cannot_be_written(save, pack, monkeypatch):
    import folder_paths

    def fail(*_):
        raise OSError("the disk is full")

    writers = pack.colorize_core.host.layer_files.WRITERS
    monkeypatch.setitem(writers, "psd", fail)
    with pytest.raises(OSError, match="full"):
        save(sketch=drawing(), color=result(), filename_prefix="c/page")
    assert not Path(folder_paths.get_output_directory(), "c").exists()


def test_no_picture_stays_behind_when_the_whole_file_cannot_be_moved(save, pack, monkeypatch):
    import folder_paths

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pack.colorize_core.host.layer_files.shutil, "move", fail)
    with pytest.raises(OSError, match="No space left"):
        save(sketch=drawing(), color=result(), filename_prefix="moved/page")
    assert not list(Path(folder_paths.get_output_directory(), "moved").iterdir())
    assert not list(Path(folder_paths.get_temp_directory()).rglob("layers.*"))


@pytest.mark.parametrize("prefix", ["../outside", "/etc/outside", "a/../../outside", "a\0b", "x" * 300])
def test_a_name_that_leads_elsewhere_or_nowhere_is_refused(save, prefix):
    with pytest.raises(ValueError, match=r"^filename_prefix: (it leads out of|no file can have).*(Write|Shorten)"):
        save(sketch=drawing(), color=result(), filename_prefix=prefix)


def test_layers_of_another_size_are_refused_in_a_sentence(save):
    for name, layer in (("flats", torch.rand(1, 8, 8, 3)), ("lines", torch.rand(1, 8, 8))):
        with pytest.raises(ValueError, match=rf"^{name}: its size is not that of sketch"):
            save(sketch=drawing(), color=result(), **{name: layer})


def test_the_saved_picture_carries_the_workflow(run_prompt, host):
    import folder_paths

    prompt = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 90, "height": 40, "batch_size": 1, "color": 0xFFFFFF}},
        "2": {
            "class_type": "ColorizeDiffusion_LineLayer",
            "inputs": {"image": ["1", 0], "sketch": ["1", 0], "line_color": "", "line_opacity": 1.0},
        },
        "3": {
            "class_type": "ColorizeDiffusion_SaveLayers",
            "inputs": {
                "filename_prefix": "d/page",
                "format": "psd",
                "sketch": ["1", 0],
                "color": ["2", 1],
                "split_flats": False,
            },
        },
    }
    run = run_prompt(prompt)
    assert run.success, run.error
    (shown,) = run.outputs["3"]["images"]
    path = Path(folder_paths.get_output_directory(), shown["subfolder"], shown["filename"])
    assert json.loads(Image.open(path).text["prompt"]) == prompt and path.with_suffix(".psd").exists()

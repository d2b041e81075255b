import json
import re
import sys
import zipfile
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from colorize_core.host import standalone
from colorize_core.training import compare, evaluate, metrics, report

seeds = st.integers(0, 2**31)
quick = settings(max_examples=20, deadline=None)


def pictures(seed: int, count: int = 2, size: int = 48) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def drawing(seed: int, size: int = 96) -> tuple[torch.Tensor, torch.Tensor]:
    """Lines [1,S,S] of rectangles with crossing borders, and the region [1,S,S] of each pixel between them."""
    rng = np.random.default_rng(seed)
    lines, regions = torch.zeros(1, size, size), torch.zeros(1, size, size, dtype=torch.long)
    for label in range(1, 5):
        top, left = rng.integers(2, size // 2, 2)
        bottom, right = rng.integers(size // 2 + 8, size - 2, 2)
        regions[:, top:bottom, left:right] = label
        lines[:, top:bottom, left:right] = 0
        lines[:, top : top + 2, left:right] = lines[:, bottom - 2 : bottom, left:right] = 1
        lines[:, top:bottom, left : left + 2] = lines[:, top:bottom, right - 2 : right] = 1
    return lines, regions


def colored(lines: torch.Tensor, regions: torch.Tensor, seed: int) -> torch.Tensor:
    """[1,3,S,S]: a light color in every region, black lines over it."""
    colors = 0.3 + 0.7 * torch.rand(10, 3, generator=torch.Generator().manual_seed(seed))
    return colors[regions].movedim(-1, 1) * (1 - lines[:, None])


# Line fidelity


@quick
@given(seeds, seeds)
def test_a_picture_drawn_from_the_sketch_has_line_fidelity_one_whatever_its_colors(seed, colors):
    lines, regions = drawing(seed)
    assert metrics.line_fidelity(colored(lines, regions, colors), lines).item() == pytest.approx(1, abs=1e-4)


def test_a_picture_drawn_from_another_sketch_has_line_fidelity_near_chance():
    lines = torch.cat([drawing(seed)[0] for seed in range(40)])
    results = torch.cat([colored(*drawing(seed), seed) for seed in range(40)])
    fidelity = metrics.line_fidelity(results.roll(1, 0), lines)
    assert fidelity.mean() < 0.15 and fidelity.max() < 0.5
    noise = torch.rand(40, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    assert metrics.line_fidelity(noise, lines).abs().max() < 0.1


def test_lost_lines_and_foreign_edges_both_lower_line_fidelity():
    lines, regions = drawing(0)
    whole, other = colored(lines, regions, 0), colored(*drawing(1), 0)
    lost, foreign = whole.clone(), torch.minimum(whole, other)
    lost[..., :48] = whole[..., :1]
    fidelity = metrics.line_fidelity(torch.cat([lost, foreign]), lines.expand(2, -1, -1))
    assert fidelity.max() < 0.9 and fidelity.min() > 0.3


def test_line_fidelity_is_the_correlation_of_edges_up_to_a_fifth_of_contrast_blurred_by_a_pixel():
    rng = np.random.default_rng(0)
    result, sketch = rng.uniform(0, 0.3, (3, 24, 24)), (rng.random((1, 24, 24)) < 0.1) * 0.15

    def edges(picture):
        contrast = ndimage.maximum_filter(picture, (1, 3, 3)) - ndimage.minimum_filter(picture, (1, 3, 3))
        return ndimage.gaussian_filter(np.minimum(contrast.max(0) / 0.2, 1), sigma=1, mode="mirror", radius=3)

    expected = np.corrcoef(edges(result).ravel(), edges(sketch).ravel())[0, 1]
    found = metrics.line_fidelity(*(torch.from_numpy(picture).float()[None] for picture in (result, sketch[0])))
    assert abs(expected) > 0.02 and found.item() == pytest.approx(expected, abs=1e-5)


def test_a_blurred_or_slightly_noisy_line_is_still_a_line():
    lines, regions = drawing(2)
    result = colored(lines, regions, 0)
    blurred = torch.nn.functional.avg_pool2d(result, 3, 1, 1, count_include_pad=False)
    noisy = result + 0.01 * torch.randn(result.shape, generator=torch.Generator().manual_seed(0))
    assert metrics.line_fidelity(torch.cat([blurred, noisy]), lines.expand(2, -1, -1)).min() > 0.85


def test_a_flat_result_has_no_line_fidelity_and_a_blank_sketch_is_an_error():
    lines, _ = drawing(0)
    assert metrics.line_fidelity(torch.full((1, 3, 96, 96), 0.5), lines) == 0
    with pytest.raises(ValueError, match="number 1 of the batch"):
        metrics.line_fidelity(torch.rand(2, 3, 96, 96), torch.cat([lines, torch.zeros_like(lines)]))


# Region color error


@quick
@given(seeds, seeds)
def test_the_names_of_regions_do_not_matter(seed, order):
    _, regions = drawing(seed)
    result, truth = pictures(seed, 1, 96), pictures(seed + 1, 1, 96)
    renamed = torch.randperm(256, generator=torch.Generator().manual_seed(order))[regions]
    expected = metrics.region_color_error(result, truth, regions)
    torch.testing.assert_close(metrics.region_color_error(result, truth, renamed), expected)


@quick
@given(seeds, seeds, st.floats(0, 50))
def test_the_color_error_is_the_shift_of_the_colors_whatever_the_lines_look_like(seed, colors, shift):
    lines, regions = drawing(seed)
    clean, drawn = colored(torch.zeros_like(lines), regions, colors), colored(lines, regions, colors)
    mostly_lines = [label for label in range(5) if lines[regions == label].sum() > 0.4 * (regions == label).sum()]
    regions[torch.isin(regions, torch.tensor(mostly_lines))] = -1
    error = metrics.region_color_error(drawn - shift / 255, clean, regions)
    assert error.item() == pytest.approx(shift, abs=1e-3)


def test_every_region_counts_the_same_whatever_its_size():
    regions = torch.zeros(1, 20, 20, dtype=torch.long)
    regions[:, :, 18:] = 7
    result = torch.zeros(1, 3, 20, 20)
    truth = torch.where(regions == 7, 100 / 255, 0.0)[:, None].expand(1, 3, 20, 20)
    assert metrics.region_color_error(result, truth, regions).item() == pytest.approx(50)


def test_a_reference_is_compared_by_its_own_region_map_at_its_own_size():
    lines, regions = drawing(3)
    small_lines, small_regions = lines[:, ::2, ::2], regions[:, ::2, ::2].flip(-1)
    result = colored(lines, regions, 5)
    reference = colored(small_lines.flip(-1), small_regions, 5)
    assert metrics.region_color_error(result, reference, regions, small_regions).item() == pytest.approx(0, abs=1e-4)
    assert metrics.region_color_error(result, colored(small_lines, small_regions, 6), regions, small_regions) > 10


def test_small_regions_and_negative_labels_do_not_count_and_without_any_region_it_is_nan():
    result, truth = torch.zeros(1, 3, 20, 20), torch.zeros(1, 3, 20, 20)
    regions = torch.zeros(1, 20, 20, dtype=torch.long)
    regions[:, :5, :5], regions[:, 10:] = 1, -1
    truth[:, :, :5, :5] = truth[:, :, 10:] = 1
    assert metrics.region_color_error(result, truth, regions) == 0
    assert metrics.region_color_error(result, truth, regions, least_pixels=25).item() == pytest.approx(127.5)
    assert metrics.region_color_error(result, truth, torch.full_like(regions, -1)).isnan()


# PSNR and MS-SSIM


@quick
@given(seeds)
def test_equal_pictures_are_perfect_by_every_measure(seed):
    same = pictures(seed)
    regions = torch.zeros(2, 48, 48, dtype=torch.long)
    assert metrics.psnr(same, same).isposinf().all()
    assert metrics.ms_ssim(same, same).tolist() == pytest.approx([1, 1], abs=1e-5)
    assert metrics.region_color_error(same, same, regions).tolist() == [0, 0]


def test_psnr_of_a_tenth_off_is_twenty_decibel_for_each_picture_alone():
    truth = pictures(0) * 0.5
    result = truth + torch.tensor([0.1, 0.01])[:, None, None, None]
    assert metrics.psnr(result, truth).tolist() == pytest.approx([20, 40], abs=1e-3)


@pytest.mark.parametrize(
    ("side", "scales"), [(10, 0), (11, 1), (22, 2), (43, 2), (44, 3), (99, 4), (175, 4), (176, 5), (1000, 5)]
)
def test_a_small_picture_has_fewer_scales_of_ms_ssim(side, scales):
    assert metrics.ms_ssim_scales(side, 2 * side) == scales


@pytest.mark.parametrize("side", [11, 22, 44, 99, 176])
def test_ms_ssim_falls_with_noise_at_every_size(side):
    truth = pictures(0, 1, side)
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(1))
    little, much = (metrics.ms_ssim((truth + s * noise).clamp(0, 1), truth).item() for s in (0.05, 0.3))
    assert 0.9 < little < 1 and 0 < much < little - 0.1


def test_a_picture_smaller_than_the_window_of_ms_ssim_is_an_error():
    with pytest.raises(ValueError, match="sides of 11 pixels"):
        metrics.ms_ssim(pictures(0, 1, 10), pictures(1, 1, 10))


# FID and KID


def test_fid_of_shifted_features_is_the_squared_shift():
    features = torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
    assert metrics.fid(features, features) == pytest.approx(0, abs=1e-4)
    assert metrics.fid(features, features + 2) == pytest.approx(4 * 8, rel=1e-4)


def test_kid_is_the_unbiased_estimate_written_out():
    x, y = torch.randn(2, 30, 8, generator=torch.Generator().manual_seed(0)).double()

    def kernel(a, b):
        return (a @ b.T / 8 + 1) ** 3

    within = [(kernel(a, a).sum() - kernel(a, a).trace()) / (30 * 29) for a in (x, y)]
    assert metrics.kid(x, y) == pytest.approx((sum(within) - 2 * kernel(x, y).mean()).item(), rel=1e-6)
    assert metrics.kid(x, y[:20]) == metrics.kid(x, y[:20])


# The command


@pytest.fixture
def folder(tmp_path):
    """Three results with their truth, references, sketches and masks; the truth has a fourth picture."""
    for number in range(4):
        lines, regions = drawing(number)
        color = colored(lines, regions, number)
        reference = colored(lines, regions, number).flip(-1)[..., :64]
        kinds = {"results": color * 0.9, "truth": color, "references": reference, "sketches": 1 - lines[:, None]}
        for kind, picture in kinds.items():
            (tmp_path / kind).mkdir(exist_ok=True)
            if kind != "results" or number < 3:
                array = (picture[0].movedim(0, -1) * 255).round().byte().squeeze(-1).numpy()
                Image.fromarray(array).save(tmp_path / kind / f"{number}.png")
        for kind, labels in {"masks": regions, "reference_masks": regions.flip(-1)[..., :64]}.items():
            (tmp_path / kind).mkdir(exist_ok=True)
            Image.fromarray(labels[0].byte().numpy()).save(tmp_path / kind / f"{number}.png")
    return tmp_path


ALL = ("truth", "references", "sketches", "masks", "reference_masks")


def options(folder, *kinds: str) -> list[str]:
    named = [(f"--{kind.replace('_', '-')}", str(folder / kind)) for kind in kinds]
    return [str(folder / "results"), *(word for pair in named for word in pair)]


def refusal(arguments: list[str]) -> str:
    """What the command says when it refuses."""
    with pytest.raises(SystemExit) as stopped:
        evaluate.main(arguments)
    return str(stopped.value.code)


def test_the_command_prints_a_table_and_writes_every_number_as_json(folder, capsys):
    evaluate.main([*options(folder, *ALL), "--json", str(folder / "out.json")])
    printed = capsys.readouterr().out
    written = json.loads((folder / "out.json").read_text())
    assert "Region color error to the reference" in printed and "1 pictures of the truth have no result" in printed
    assert "fewer than 5 scales" in printed
    assert list(written["pictures"]) == ["0", "1", "2"]
    per_picture = [values["psnr"] for values in written["pictures"].values()]
    assert written["mean"]["psnr"] == pytest.approx(sum(per_picture) / 3)
    assert written["mean"]["line_fidelity"] > 0.99
    error = written["mean"]["region_color_error"]
    assert 5 < error < 25 and written["mean"]["reference_color_error"] == pytest.approx(error, rel=0.2)


def test_equal_pictures_are_null_in_json_and_inf_in_the_table(folder, capsys):
    arguments = [str(folder / "truth"), "--truth", str(folder / "truth"), "--json", str(folder / "out.json")]
    evaluate.main(arguments)
    assert json.loads((folder / "out.json").read_text())["mean"]["psnr"] is None
    assert " inf " in capsys.readouterr().out


def test_networks_are_given_results_and_partners(folder):
    found = compare.open_pictures(folder / "results", truth=folder / "truth", references=folder / "references")

    def mean_color(picture):
        return picture.mean(dim=(2, 3))

    measured = report.measure_pictures(found, inception=mean_color, clip=mean_color, fid=True, kid=True)
    assert {"fid", "kid", "clip_similarity", "psnr", "ms_ssim"} == set(measured.means())
    assert 0.9 < measured.means()["clip_similarity"] <= 1 and measured.means()["fid"] > 0
    assert any("biased" in note for note in measured.notes)
    assert "FID to the truth" in report.report_table(measured)


def test_a_palette_png_is_a_region_map_by_its_numbers(folder):
    image = Image.open(folder / "masks" / "0.png")
    expected = compare.read_regions(compare.open_store(folder / "masks"), "0")
    paletted = Image.frombytes("P", image.size, image.tobytes())
    paletted.putpalette([255 - i // 3 for i in range(768)])
    paletted.save(folder / "masks" / "0.png")
    assert torch.equal(compare.read_regions(compare.open_store(folder / "masks"), "0"), expected)


def test_a_result_without_its_partner_is_named(folder):
    (folder / "sketches" / "1.png").unlink()
    assert "sketches: has no picture for 1 of the 3 results: 1." in refusal(options(folder, "sketches"))


def test_another_size_is_named_with_what_to_do(folder):
    Image.open(folder / "results" / "2.png").resize((90, 96)).save(folder / "results" / "2.png")
    said = refusal(options(folder, "truth"))
    assert "results/2.png: is 90x96 pixels, truth/2.png is 96x96" in said and "Crop to Sketch" in said


def test_an_archive_is_opened_by_its_own_name_beside_a_folder_and_without_its_ending_alone(folder):
    with zipfile.ZipFile(folder / "results.zip", "w") as archive:
        archive.write(folder / "results" / "1.png", "results/1.png")
    assert list(compare.open_store(folder / "results.zip").files) == ["1"]
    assert list(compare.open_store(folder / "results").files) == ["0", "1", "2"]
    (folder / "results").rename(folder / "elsewhere")
    assert list(compare.open_store(folder / "results").files) == ["1"]


def test_an_empty_and_a_missing_folder_are_named(folder):
    (folder / "empty").mkdir()
    assert "empty: there is no picture in it" in refusal([str(folder / "empty"), "--truth", str(folder / "truth")])
    assert "nowhere: there is no such folder" in refusal([str(folder / "results"), "--truth", "nowhere"])


def test_a_colored_mask_a_broken_picture_and_a_blank_sketch_are_named(folder):
    Image.new("L", (96, 96), 255).save(folder / "sketches" / "2.png")
    assert "sketches/2.png: sketch: there is no line" in refusal(options(folder, "sketches"))
    Image.new("RGB", (96, 96)).save(folder / "masks" / "1.png")
    assert "masks/1.png: is a picture of mode RGB, no region map" in refusal(options(folder, "truth", "masks"))
    (folder / "results" / "0.png").write_bytes(b"no picture")
    assert "results/0.png" in refusal(options(folder, "truth"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "give --truth"),
        (["--sketches", "s", "--fid"], "give --truth"),
        (["--truth", "t", "--clip", "c"], "give --references"),
        (["--references", "r"], "give --clip"),
        (["--truth", "t", "--reference-masks", "m"], "--references and --masks"),
        (["--sketches", "s", "--masks", "m"], "to compare colors with"),
    ],
)
def test_options_that_lack_another_are_refused(arguments, says, capsys):
    with pytest.raises(SystemExit):
        evaluate.parse(["results", *arguments])
    assert says in capsys.readouterr().err


def test_without_torch_fidelity_the_command_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    assert re.search("torch_fidelity.*: pip install torch-fidelity", refusal([*options(folder, "truth"), "--kid"]))


def test_what_torch_fidelity_itself_lacks_is_named(folder, monkeypatch):
    for name in ("torch_fidelity", "torch_fidelity.feature_extractor_inceptionv3"):
        monkeypatch.setitem(sys.modules, name, Mock())
    monkeypatch.setitem(sys.modules, "torchmetrics.image.fid", None)
    assert "torchmetrics.image.fid" in refusal([*options(folder, "truth"), "--kid"])


def test_inceptions_weights_that_arrive_broken_are_not_blamed_on_a_file(folder, monkeypatch):
    def broken(*_):
        raise RuntimeError("unexpected end of data")

    kind = SimpleNamespace(NoTrainInceptionV3=broken)
    monkeypatch.setitem(sys.modules, "torch_fidelity", Mock())
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", Mock(URL_INCEPTION_V3="the web"))
    monkeypatch.setitem(sys.modules, "torchmetrics.image.fid", kind)
    said = refusal([*options(folder, "truth"), "--kid"])
    assert re.search("did not arrive whole .unexpected end of data.. Delete what there is of them", said)


def test_without_torchmetrics_the_command_says_what_to_install(folder, monkeypatch):
    monkeypatch.setattr(standalone.importlib.util, "find_spec", lambda name: None)
    assert "torchmetrics is missing: pip install -r" in refusal(options(folder, "truth"))


def test_without_comfyui_the_command_says_where_it_looks_for_it(folder, monkeypatch):
    monkeypatch.setattr(standalone.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(standalone, "PACK", folder / "ComfyUI" / "custom_nodes" / "pack")
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    said = refusal([*options(folder, "references"), "--clip", "clip.safetensors"])
    assert "set COMFYUI_PATH" in said

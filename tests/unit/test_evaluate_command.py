"""The command that compares pictures: its table, its JSON, and what it says of pictures that do not fit."""

import json
import re
import sys
import zipfile
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch
from drawings import colored, drawing
from PIL import Image

from colorize_core.host import standalone
from colorize_core.training import compare, evaluate, report


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

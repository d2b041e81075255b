"""The sheet of each save, and the pictures that are held out."""

import numpy as np
import torch
from PIL import Image
from small_training import FROM_NOTHING, SIDE


def test_sheets_lie_beside_the_curves_in_a_run_of_their_own(module, tmp_path):
    for steps in (5, 10):
        module("training.results").save_sheet(torch.rand(3, 8, 24), tmp_path, steps, tensorboard=True)
    assert [file.name for file in sorted((tmp_path / "sheets").iterdir())] == ["00000005.png", "00000010.png"]
    assert [path.name for path in (tmp_path / "tensorboard").iterdir()] == ["sheets"]
    assert len(list((tmp_path / "tensorboard" / "sheets").iterdir())) == 2


def test_other_pictures_stand_in_on_a_sheet_for_those_that_cannot_be_read(module, experiment, tmp_path):
    pictures = module("training.data").PictureFolder(tmp_path / "pictures")
    assert len(pictures) == 4

    def chosen(count):
        return module("training.validation").choose(pictures, experiment(), count)

    whole = chosen(4)
    assert torch.equal(chosen(2).sketch, whole.sketch[::2])
    for name in pictures.names[:3]:
        (tmp_path / "pictures" / "sketch" / f"{name}.png").write_bytes(b"no picture")
    assert torch.equal(chosen(2).sketch, whole.sketch[3:])
    (tmp_path / "pictures" / "sketch" / f"{pictures.names[3]}.png").write_bytes(b"no picture")
    assert chosen(2) is None


def test_a_sheet_that_runs_out_of_memory_does_not_end_the_training(
    run, module, experiment, tmp_path, monkeypatch, caplog
):
    def out_of_memory(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(module("training.validation"), "color_samples", out_of_memory)
    run(experiment(*FROM_NOTHING[:2], "training.steps=1"))
    assert "no sheet at step 1: out of memory; set samples and validation.share to 0" in caplog.text
    assert (tmp_path / "mine" / "mine.safetensors").is_file() and not (tmp_path / "mine" / "sheets").exists()


def test_each_save_measures_pictures_that_were_held_out_after_their_own_references_and_others(
    run, module, experiment, tmp_path, monkeypatch, capsys
):
    seen, load = set(), module("training.data").PictureFolder.load

    def watched(pictures, name, *rest):
        seen.add((name, rest[4].warp))  # references on sheets are as they are
        return load(pictures, name, *rest)

    monkeypatch.setattr(module("training.data").PictureFolder, "load", watched)
    run(experiment("validation={share: 0.51, count: 2}", "training.save_every=1"))
    assert "held out   2 pictures" in capsys.readouterr().out
    heading, *rows = (row.split(",") for row in (tmp_path / "mine" / "validation.csv").read_text().splitlines())
    kinds = ("loss", "color_error", "line_fidelity")
    assert heading == ["step", *(f"{kind}_{match}" for match in ("matched", "mismatched") for kind in kinds)]
    assert [row[0] for row in rows] == ["1", "2"] and all(len(row) == len(heading) for row in rows)
    held_out = {name for name, warp in seen if warp == 0}
    assert len(held_out) == 2 and not held_out & {name for name, warp in seen if warp > 0}
    sheet = np.asarray(Image.open(tmp_path / "mine" / "sheets" / "00000002.png"))
    own, other = (sheet[:, k * SIDE : (k + 1) * SIDE] for k in (1, 3))
    assert np.abs(own.astype(int) - other).mean() > 5

"""Pictures that are encoded once, in a folder of their own, and what a training sees of them."""

import itertools
from types import SimpleNamespace

import pytest
import torch
from small_training import SIDE

SETTINGS = ("samples=0", "validation.share=0", "data.cache_versions=3", "data.workers=2")


@pytest.fixture
def encoding(module, experiment, tmp_path):
    """What it takes to encode the pictures of an experiment, and `encode()`, which does so."""
    settings = experiment(*SETTINGS, f"data.cache={tmp_path / 'cache'}")
    start = module("training.colorizer").build_start(settings)
    encoders = module("training.encoders").load_encoders(settings, start)
    pictures = module("training.data").PictureFolder(settings.data.root)
    dataset = module("training.loader").picture_dataset(pictures, settings.data, settings.deformation)
    encoded = module("training.encoded")

    def encode():
        accelerator = module("training.processes").start_processes()
        return encoded.encode_pictures(accelerator, dataset, encoders, settings.data.cache, {"pictures": 1})

    return SimpleNamespace(encode=encode, encoders=encoders, dataset=dataset, module=encoded)


def test_what_is_encoded_is_a_sample_that_its_seed_decides(module, encoding):
    encoded = encoding.encode()
    planned = module("training.buckets").PlannedRow
    seen = []
    for member, version in itertools.product(range(4), range(3)):
        seed = encoding.module._seed_of((SIDE, SIDE), 3 * member + version)
        whole = encoding.dataset[planned((SIDE, SIDE), member, seed)]
        part = {key: whole[key][None] for key in ("color", "reference")}
        latent, tokens = encoding.encoders.encode(part)
        sample = encoded[planned((SIDE, SIDE), member, 3 * 1234 + version)]
        torch.testing.assert_close(sample["latent"].float(), latent[0], atol=5e-3, rtol=2e-3)
        torch.testing.assert_close(sample["tokens"].float(), tokens[0], atol=5e-3, rtol=2e-3)
        torch.testing.assert_close(sample["sketch"], whole["sketch"], atol=4e-3, rtol=0)
        assert sample["seed"] == 3 * 1234 + version
        seen.append(sample["tokens"])
    assert all(not torch.equal(one, two) for one, two in itertools.combinations(seen, 2))


def test_pictures_are_encoded_once_even_if_that_was_cut_short(encoding, monkeypatch):
    encode, calls = encoding.encoders.encode, []

    def counted(self, part):
        calls.append(len(part["color"]))
        if len(calls) == 3:  # the first is of a blank picture
            raise KeyboardInterrupt
        return encode(part)

    monkeypatch.setattr(encoding.module, "BLOCK", 1)
    monkeypatch.setattr(type(encoding.encoders), "encode", counted)
    with pytest.raises(KeyboardInterrupt):
        encoding.encode()
    encoding.encode()
    assert calls == [1, 4, 4, 1, 4, 4]
    encoding.encode()
    assert calls == [1, 4, 4, 1, 4, 4, 1]


def test_a_training_of_encoded_pictures_learns_and_goes_on(run, module, experiment, tmp_path, monkeypatch, capsys):
    cached = (*SETTINGS, f"data.cache={tmp_path / 'cache'}")
    run(experiment(*cached, "training.steps=1"))
    assert f"encoded    in 3 versions each, in {tmp_path / 'cache'}" in capsys.readouterr().out
    monkeypatch.setattr(module("training.data").PictureFolder, "load", None)  # no picture is read again
    run(experiment(*cached))
    run(experiment(*cached, f"output={tmp_path / 'once'}", "training.seed=1"))
    assert len((tmp_path / "mine" / "losses.csv").read_text().splitlines()) == 3
    (digest,) = (tmp_path / "cache").iterdir()
    assert {path.name for path in digest.iterdir()} == {
        f"{SIDE}x{SIDE}-{name}.npy" for name in ("latent", "tokens", "sketch", "done")
    }
    with pytest.raises(ValueError, match=r"step-00000002 was trained with data\.cache_versions 3, not 0"):
        run(experiment(*SETTINGS))


def test_other_pictures_or_deformations_are_encoded_anew(run, experiment, tmp_path):
    cached = (*SETTINGS, f"data.cache={tmp_path / 'cache'}", "training.steps=1")
    run(experiment(*cached))
    run(experiment(*cached, "strategy.drop_rate=0.1", f"output={tmp_path / 'b'}"))
    assert len(list((tmp_path / "cache").iterdir())) == 1
    run(experiment(*cached, "deformation.warp=0", f"output={tmp_path / 'c'}"))
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_disk_that_is_too_small_is_named_and_nothing_stays(encoding, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(encoding.module.os, "posix_fallocate", full, raising=False)
    with pytest.raises(ValueError, match=r"data\.cache: .*cache cannot hold the encoded pictures \(No space left"):
        encoding.encode()
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]

"""Faults in the middle of the work: each has its words, and the next prompt gives the same picture."""

from copy import deepcopy

import pytest
import torch

ALLOCATOR = "[enforce fail at alloc_cpu.cpp:113] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"
PLACES = {  # what fails there, the node that it fails in, at which call
    "reading": ("comfy.utils.load_torch_file", "load", 1),
    "UNet": ("comfy.model_base.BaseModel.load_model_weights", "load", 1),
    "VAE": ("comfy.sd.VAE.__init__", "load", 1),
    "CLIP": ("comfy.clip_vision.ClipVisionModel.load_sd", "clip", 1),
    "reference": ("comfy.clip_model.CLIPVision.forward", "tokens", 1),
    "text": ("comfy.sd.CLIP.encode_from_tokens", "global", 1),
    "injection": ("comfy.sd.VAE.encode", "inject", 1),
    "sketch": ("colorize_core.networks.sketch_encoder.SketchEncoder.forward", "color", 1),
    "region": ("colorize_core.host.regions.fit_mask", "color", 1),
    "first step": ("comfy.model_base.BaseModel._apply_model", "color", 1),
    "last step": ("comfy.model_base.BaseModel._apply_model", "color", 2),
    "decoding": ("comfy.sd.VAE.decode", "decode", 1),
}


@pytest.fixture
def fail_at(monkeypatch, pack):
    """`fail_at(place, error)`: that place raises the error once."""

    def run(place, error):
        path, _, at = PLACES[place]
        owner = pack if path.startswith("colorize_core") else __import__("comfy")
        if owner is not pack:
            __import__(".".join(path.split(".")[:2]))
            path = path.removeprefix("comfy.")
        *owners, name = path.split(".")
        for part in owners:
            owner = getattr(owner, part)
        original, calls = getattr(owner, name), []

        def fail(*args, **kwargs):
            calls.append(name)
            if len(calls) == at:
                raise error
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, fail)

    return run


@pytest.fixture
def run(run_prompt):
    return lambda prompt: run_prompt(deepcopy(prompt))  # the host notes in a prompt what it found


@pytest.fixture(scope="module")
def pictures():
    """The picture of the undisturbed prompt, once it is there."""
    return {}


def test_a_prompt_that_nothing_disturbs_gives_a_picture(run, prompt, pictures):
    whole = run(prompt)
    assert whole.success, whole.error
    pictures["whole"] = whole.captured["picture"]


@pytest.mark.parametrize("place", PLACES)
def test_after_a_fault_the_next_prompt_gives_the_same_picture(place, fail_at, run, prompt, pictures, monkeypatch):
    from comfy.model_management import InterruptProcessingException

    errors = [MemoryError(), RuntimeError(ALLOCATOR), torch.OutOfMemoryError("CUDA out of memory.")]
    for error in [*errors, InterruptProcessingException()]:
        fail_at(place, error)
        disturbed = run(prompt)
        monkeypatch.undo()
        assert not disturbed.success
        if isinstance(error, InterruptProcessingException):
            assert "execution_interrupted" in [event for event, _ in disturbed.messages]
        elif isinstance(error, torch.OutOfMemoryError):
            assert "out of memory" in disturbed.error
        elif place != "decoding":  # that is the host's own node
            assert "there is not enough memory" in disturbed.error and "close other programs" in disturbed.error.lower()

    again = run(prompt)
    assert again.success, again.error
    assert torch.equal(again.captured["picture"], pictures.setdefault("whole", again.captured["picture"]))


def test_a_full_disk_costs_what_was_to_be_saved_and_nothing_else(run, prompt, monkeypatch):
    from PIL import Image

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", full)
        disturbed = run(prompt)
    assert not disturbed.success and "No space left on device" in disturbed.error
    again = run(prompt)
    assert again.success, again.error


@pytest.mark.parametrize("damage", ["cut", "deleted", "emptied"])
def test_a_file_that_is_damaged_meanwhile_has_its_words_and_is_read_once_it_is_back(run, prompt, models_dir, damage):
    path = models_dir / "checkpoints" / prompt["load"]["inputs"]["ckpt_name"]
    whole = path.read_bytes()
    first = run(prompt)
    assert first.success, first.error
    if damage == "deleted":
        path.unlink()
    else:
        path.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"")
    disturbed = run(prompt)
    assert not disturbed.success and path.name in disturbed.error
    path.write_bytes(whole)
    again = run(prompt)
    assert again.success, again.error
    assert torch.equal(again.captured["picture"], first.captured["picture"])

"""Through the host's executor: caching, progress, previews, interruption."""

import pytest
from small import STEPS


@pytest.fixture
def prompt(pack, host, tiny_checkpoint, tokens, sketch, monkeypatch):
    """An API-format prompt that loads the model and colors."""

    class Source:
        INPUT_TYPES = classmethod(lambda cls: {"required": {}})
        RETURN_TYPES = ("COLORIZE_TOKENS", "COLORIZE_SKETCH")
        FUNCTION = "give"
        CATEGORY = "tests"

        def give(self):
            return tokens(), sketch()

    monkeypatch.setitem(host.NODE_CLASS_MAPPINGS, "TestReferenceAndSketch", Source)

    def build(steps=STEPS):
        return {
            "1": {
                "class_type": "ColorizeDiffusion_LoadCheckpoint",
                "inputs": {"ckpt_name": tiny_checkpoint, "prediction": "auto", "token_type": "attention"},
            },
            "2": {"class_type": "TestReferenceAndSketch", "inputs": {}},
            "3": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
            "4": {
                "class_type": "ColorizeDiffusion_Sampler",
                "inputs": {
                    "model": ["1", 0],
                    "tokens": ["2", 0],
                    "sketch": ["2", 1],
                    "latent": ["3", 0],
                    "seed": 1,
                    "steps": steps,
                    "reference_guidance": 4.0,
                    "sketch_guidance": 1.0,
                    "sampler_name": "euler",
                    "scheduler": "normal",
                    "denoise": 1.0,
                    "start_percent": 0.0,
                    "end_percent": 1.0,
                },
            },
            "5": {"class_type": "Capture", "inputs": {"value": ["4", 0]}},
        }

    return build


def test_queueing_the_same_prompt_twice_runs_nothing_again(run_prompt, prompt):
    first = run_prompt(prompt())
    assert first.success, first.error
    assert "4" in first.ran and first.captured["5"]["samples"].shape == (1, 4, 8, 8)
    second = run_prompt(prompt())
    assert second.success and "4" not in second.ran and "1" not in second.ran


def test_it_shows_progress_and_previews(run_prompt, prompt, monkeypatch):
    import comfy.utils
    import latent_preview
    from comfy.cli_args import LatentPreviewMethod, args

    monkeypatch.setattr(args, "preview_method", LatentPreviewMethod.Latent2RGB)
    monkeypatch.setattr(latent_preview, "default_preview_method", LatentPreviewMethod.Latent2RGB, raising=False)
    seen = []
    monkeypatch.setattr(
        comfy.utils, "PROGRESS_BAR_HOOK", lambda value, total, preview, **kw: seen.append((value, total, preview))
    )
    assert run_prompt(prompt(steps=3)).success
    assert [value for value, total, _ in seen if total == 3] == [1, 2, 3]
    assert all(preview is not None for _, total, preview in seen if total == 3)


def test_interrupting_stops_it_and_queueing_again_works(run_prompt, prompt, monkeypatch):
    import comfy.model_management
    import comfy.utils

    def interrupt(value, total, preview, **kwargs):
        comfy.model_management.interrupt_current_processing()
        comfy.model_management.throw_exception_if_processing_interrupted()

    with monkeypatch.context() as patch:
        patch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", interrupt)
        stopped = run_prompt(prompt(steps=50))
    assert not stopped.success and any(event == "execution_interrupted" for event, _ in stopped.messages)
    assert run_prompt(prompt(steps=2)).success

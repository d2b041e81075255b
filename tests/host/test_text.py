import numpy as np
import pytest
import torch
from PIL import Image

DEFAULTS = {"threshold_0": 0.5, "threshold_1": 0.55, "threshold_2": 0.65, "threshold_3": 0.95}


@pytest.fixture(scope="module")
def clip(pack, host, tiny_clip):
    with torch.inference_mode():
        return host.NODE_CLASS_MAPPINGS["ColorizeDiffusion_LoadCLIP"].execute(clip_name=tiny_clip).result[1]


@pytest.fixture
def tokens(pack, golden):
    full = golden["tokens.full"]
    return pack.colorize_core.tokens.ReferenceTokens(cls=full[:, :1], local=full[:, 1:])


@pytest.fixture
def texts(golden_texts):
    return golden_texts


@pytest.fixture
def global_text(node, clip):
    def run(tokens, target, **inputs):
        inputs = {"anchor": "", "scale": 5.0, "enhance": False, "text_layer": "penultimate"} | inputs
        return node("GlobalText").execute(tokens=tokens, clip=clip, target=target, **inputs).result[0]

    return run


@pytest.fixture
def local_text(node, clip):
    def run(tokens, target, **inputs):
        inputs = {"anchor": "", "control": "", "scale": 8.0, "enhance": False, "text_layer": "penultimate"} | inputs
        return node("LocalText").execute(tokens=tokens, clip=clip, target=target, **(DEFAULTS | inputs))

    return run


@pytest.fixture
def text_heatmap(node, clip):
    def run(tokens, image, text, **inputs):
        inputs = {"text_layer": "penultimate"} | DEFAULTS | inputs
        return node("TextHeatmap").execute(tokens=tokens, clip=clip, image=image, text=text, **inputs).result

    return run


class TestLocalText:
    def test_an_empty_control_is_the_anchor(self, tokens, texts, local_text):
        named = local_text(tokens, texts[0], anchor=texts[1], control=texts[1]).result[0]
        assert torch.equal(local_text(tokens, texts[0], anchor=texts[1]).result[0].local, named.local)

    def test_everything_moves_all_tokens_alike(self, tokens, texts, local_text):
        edited, weights = local_text(tokens, texts[0], control=" Everything").result
        moved = edited.local - tokens.local
        assert torch.allclose(moved, moved[:, :1].expand_as(moved), atol=1e-5) and moved.abs().max() > 0.1
        assert weights.min() == 1

    def test_a_mask_confines_the_change_and_the_weights(self, tokens, texts, local_text):
        mask = torch.zeros(1, 640, 320)
        mask[:, :320] = 1  # the upper half: the first 8 of 16 rows of tokens
        edited, weights = local_text(tokens, texts[0], control="everything", mask=mask).result
        assert torch.equal(edited.local[:, 128:], tokens.local[:, 128:])
        assert not torch.isclose(edited.local[:, :128], tokens.local[:, :128]).all(dim=-1).any()
        assert weights[:, :112].min() == 1 and weights[:, 144:].max() == 0

    def test_automatic_thresholds_need_none_by_hand(self, tokens, texts, local_text):
        unusable = dict.fromkeys(DEFAULTS, 0.0)
        auto = local_text(tokens, texts[0], control=texts[1], threshold_mode="auto", **unusable).result[0]
        manual = local_text(tokens, texts[0], control=texts[1]).result[0]
        assert auto.local.isfinite().all() and not torch.allclose(auto.local, manual.local)

    def test_each_reference_of_a_batch_is_edited_as_if_alone(self, pack, tokens, texts, local_text):
        ReferenceTokens = pack.colorize_core.tokens.ReferenceTokens
        other = ReferenceTokens(tokens.cls.flip(2), tokens.local.flip(2))
        batch = ReferenceTokens(torch.cat([tokens.cls, other.cls]), torch.cat([tokens.local, other.local]))
        for mode in ("manual", "auto"):
            edit = {"anchor": texts[1], "enhance": True, "threshold_mode": mode}
            alone = [local_text(each, texts[0], **edit).result for each in (tokens, other)]
            edited, weights = local_text(batch, texts[0], **edit).result
            assert torch.allclose(edited.local, torch.cat([out[0].local for out in alone]), atol=1e-4)
            assert torch.allclose(weights, torch.cat([out[1] for out in alone]), atol=1e-5)

    def test_the_weights_are_shown_on_the_node(self, tokens, texts, local_text):
        shown = local_text(tokens, texts[0], anchor=texts[1]).ui.as_dict()["images"]
        assert [image["type"] for image in shown] == ["temp"]

    def test_a_mask_of_each_size_and_kind_gives_the_edit_of_its_own(self, tokens, texts, local_text):
        masks = torch.rand(2, 48, 32, generator=torch.Generator().manual_seed(0))
        both, weights = local_text(tokens, texts[0], control="everything", mask=masks).result
        alone = [local_text(tokens, texts[0], control="everything", mask=mask[None]).result[0] for mask in masks]
        assert (
            torch.allclose(both.local, torch.cat([edit.local for edit in alone]), atol=1e-5)
            and len(weights) == len(both.cls) == 2
        )

    def test_a_full_temp_folder_costs_the_preview_and_not_the_edit(
        self, tokens, texts, local_text, monkeypatch, caplog
    ):
        from PIL import Image

        def full(*args, **kwargs):
            raise OSError(28, "No space left on device")

        whole = local_text(tokens, texts[0], control="everything")
        monkeypatch.setattr(Image.Image, "save", full)
        out = local_text(tokens, texts[0], control="everything")
        assert torch.equal(out.result[0].local, whole.result[0].local) and out.ui is None
        assert "No space left on device" in caplog.text

    def test_the_last_layer_is_another_text(self, tokens, texts, local_text):
        last = local_text(tokens, texts[0], anchor=texts[1], text_layer="last").result[0]
        assert not torch.allclose(last.local, local_text(tokens, texts[0], anchor=texts[1]).result[0].local)


class TestTextHeatmap:
    @pytest.mark.parametrize("height, width", [(1, 1), (37, 911), (512, 384)])
    def test_it_lies_over_a_reference_of_any_size_with_its_legend_below(
        self, tokens, texts, text_heatmap, height, width
    ):
        image, mask = text_heatmap(tokens, torch.rand(1, height, width, 3), texts[0])
        assert mask.shape == (1, height, width)
        assert image.shape[1] > height and image.shape[2:] == (width, 3)
        assert image.min() >= 0 and image.max() <= 1

    def test_the_mask_is_highest_at_the_token_most_like_the_text(self, pack, tokens, golden, texts, text_heatmap):
        local = tokens.local / 100
        local[:, 5 * 16 + 11] += 10 * golden["text.clip_skip_1"][0]
        found = pack.colorize_core.tokens.ReferenceTokens(tokens.cls, local)
        _, mask = text_heatmap(found, torch.rand(1, 320, 160, 3), texts[0])
        row, column = divmod(int(mask.argmax()), 160)
        assert (row // 20, column // 10) == (5, 11)

    def test_the_grid_is_drawn_when_asked_for(self, tokens, texts, text_heatmap):
        picture = torch.ones(1, 320, 320, 3)
        without, _ = text_heatmap(tokens, picture, texts[0])
        lined, _ = text_heatmap(tokens, picture, texts[0], grid=True)
        changed = (lined != without).any(dim=3)[0, :320]
        assert changed[20].all() and changed[:, 300].all() and not changed[10, 10]

    def test_one_reference_under_each_picture_of_a_batch(self, tokens, texts, text_heatmap):
        image, mask = text_heatmap(tokens, torch.rand(3, 64, 64, 4), texts[0])
        assert len(image) == len(mask) == 3 and torch.equal(mask[0], mask[2])


class TestErrorsSayWhatToDo:
    def test_an_empty_target(self, tokens, global_text, local_text):
        for edit in (global_text, local_text):
            with pytest.raises(ValueError, match="target: the text is empty"):
                edit(tokens, "  ", anchor="blonde hair")

    def test_neither_control_nor_anchor(self, tokens, local_text):
        with pytest.raises(ValueError, match="control: the text is empty"):
            local_text(tokens, "red hair")

    def test_no_text_for_the_heatmap(self, tokens, text_heatmap):
        with pytest.raises(ValueError, match="text: the text is empty"):
            text_heatmap(tokens, torch.rand(1, 64, 64, 3), "")

    def test_thresholds_out_of_order(self, tokens, local_text, text_heatmap):
        with pytest.raises(ValueError, match=r"0\.5, 0\.55, 0\.3, 0\.95"):
            local_text(tokens, "red hair", control="hair", threshold_2=0.3)
        with pytest.raises(ValueError, match=r"0\.5, 0\.5, 0\.65, 0\.95"):
            text_heatmap(tokens, torch.rand(1, 64, 64, 3), "hair", threshold_1=0.5)

    def test_a_clip_of_another_width_than_the_tokens(self, pack, global_text, local_text, text_heatmap):
        wide = pack.colorize_core.tokens.ReferenceTokens(torch.rand(1, 1, 80), torch.rand(1, 256, 80))
        for edit in (
            lambda: global_text(wide, "red hair"),
            lambda: local_text(wide, "red hair", control="hair"),
            lambda: text_heatmap(wide, torch.rand(1, 64, 64, 3), "hair"),
        ):
            with pytest.raises(ValueError, match="clip: its texts are 64 wide, the reference's tokens 80"):
                edit()

    def test_tokens_that_are_not_finite(self, pack, tokens, global_text, local_text, text_heatmap):
        broken = pack.colorize_core.tokens.ReferenceTokens(tokens.cls * float("nan"), tokens.local / 0.0)
        for edit in (
            lambda: global_text(broken, "red hair"),
            lambda: local_text(broken, "red hair", control="hair", threshold_mode="auto"),
            lambda: local_text(broken, "red hair", control="everything"),
            lambda: text_heatmap(broken, torch.rand(1, 64, 64, 3), "hair"),
        ):
            with pytest.raises(ValueError, match=r"^tokens: it holds NaN, infinity .* Encode the reference again"):
                edit()


class TestInAGraph:
    @pytest.fixture
    def prompt(self, tiny_clip, input_dir):
        """A reference, a global and a local edit in a row, and a heatmap of what came of it."""
        pixels = np.random.RandomState(0).randint(0, 255, (96, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(input_dir / "text_reference.png")
        texts = {"clip": ["clip", 1], "text_layer": "penultimate"}
        edit = {**texts, "anchor": "blonde hair", "enhance": False, "scale": 5.0}

        def node(name, **inputs):
            return {"class_type": f"ColorizeDiffusion_{name}", "inputs": inputs}

        return {
            "image": {"class_type": "LoadImage", "inputs": {"image": "text_reference.png"}},
            "clip": node("LoadCLIP", clip_name=tiny_clip),
            "reference": node("EncodeReference", clip_vision=["clip", 0], image=["image", 0]),
            "global": node("GlobalText", tokens=["reference", 0], target="red hair", **edit),
            "local": node("LocalText", tokens=["global", 0], target="blue sky", control="sky", **edit, **DEFAULTS),
            "heatmap": node("TextHeatmap", tokens=["local", 0], image=["image", 0], text="sky", **texts, **DEFAULTS),
            "tokens": {"class_type": "Capture", "inputs": {"value": ["local", 0]}},
            "picture": {"class_type": "Capture", "inputs": {"value": ["heatmap", 0]}},
        }

    def test_it_runs_and_shows_the_weights(self, run_prompt, prompt):
        run = run_prompt(prompt)
        assert run.success, run.error
        assert run.captured["tokens"].local.isfinite().all()
        assert run.captured["picture"].shape[2:] == (64, 3)
        assert len(run.outputs["local"]["images"]) == 1

    def test_changing_a_later_text_runs_nothing_before_it(self, run_prompt, prompt):
        assert run_prompt(prompt).success
        prompt["local"]["inputs"]["target"] = "green sky"
        assert set(run_prompt(prompt).ran) == {"local", "heatmap", "tokens", "picture"}
        prompt["heatmap"]["inputs"]["text"] = "hair"
        assert set(run_prompt(prompt).ran) == {"heatmap", "picture"}

    def test_thresholds_out_of_order_reach_the_user_as_a_sentence(self, run_prompt, prompt):
        prompt["local"]["inputs"]["threshold_0"] = 0.9
        run = run_prompt(prompt)
        assert not run.success and "each must be greater than the one before" in run.error

"""The model in demo/: small, read rightly by every loader, and it colors what it has not seen."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

DEMO = Path(__file__).parents[2] / "demo"
CHECKPOINT, CLIP = "colorize-demo.safetensors", "clip-demo.safetensors"
PAIRS, UNSEEN_SEED, SIZE = 6, 4, 128


@pytest.fixture(scope="module")
def demo_files(models_dir):
    shutil.copy(DEMO / CHECKPOINT, models_dir / "checkpoints")
    shutil.copy(DEMO / CLIP, models_dir / "clip_vision")


@pytest.fixture
def demo_module(load_module):
    """`demo_module("data")` is a module of the demo."""
    return lambda name: load_module(f"demo.{name}")


def test_its_files_are_small():
    assert sum(path.stat().st_size for path in DEMO.iterdir()) <= 12 * 2**20


def test_every_loader_knows_that_it_predicts_velocities(demo_files, node, models_dir):
    import comfy.model_base
    import comfy.sd

    model, _ = node("LoadCheckpoint").execute(CHECKPOINT).result
    path = str(models_dir / "checkpoints" / CHECKPOINT)
    stock = comfy.sd.load_checkpoint_guess_config(path, output_vae=False, output_clip=False)[0]
    for loaded in (model, stock):
        assert loaded.model.model_type == comfy.model_base.ModelType.V_PREDICTION


def test_drawn_pictures_have_the_colors_by_which_results_are_judged(demo_module):
    evaluate, pictures = demo_module("evaluate"), demo_module("data").draw_pairs(PAIRS, UNSEEN_SEED, SIZE)
    own = np.arange(2 * PAIRS)
    assert set(evaluate.hits(pictures.color, pictures, own).values()) == {1.0}
    assert evaluate.figures_color_error(pictures.color, pictures, own) == 0
    assert min(evaluate.hits(pictures.color[::-1], pictures, own).values()) < 0.5


def test_a_region_that_is_mostly_outline_is_not_judged(demo_module):
    evaluate, figures = demo_module("evaluate"), demo_module("figures")
    for pixels, color in ((39, None), (40, [250, 40, 10])):
        regions = np.zeros((8, 8), np.uint8)
        regions.flat[:pixels] = figures.REGIONS["eyes"]
        image = np.where((regions == figures.REGIONS["eyes"])[..., None], (250, 40, 10), (0, 0, 0))
        found = evaluate.region_color(image, regions, "eyes")
        assert (found if found is None else found.tolist()) == color


def test_tokens_saved_by_a_training_are_those_of_its_pictures_and_its_clip(demo_module, monkeypatch, tmp_path):
    stages, mixture = demo_module("stages"), demo_module("mixture")
    encoder = stages.build_autoencoder(demo_module("vae").DDCONFIG)
    first, second = (demo_module("clip").build_clip().eval() for _ in range(2))  # CLIPs as they begin, at random
    monkeypatch.setattr(stages, "autoencoder", lambda run: encoder)
    monkeypatch.setattr(mixture, "KIND_SHARES", {"own": 1.0})
    run = stages.DemoRun(tmp_path, tmp_path)
    monkeypatch.setattr(stages.DemoRun, "of", lambda run, whole: whole)
    monkeypatch.setattr(stages, "sources", lambda run: None)
    for pairs, seed, towers in ((1, 7, first), (2, 7, first), (2, 8, first), (2, 8, second)):
        monkeypatch.setattr(stages, "clip", lambda run, towers=towers: towers)
        monkeypatch.setattr(stages, "DRAWN_PAIRS", {64: pairs})
        monkeypatch.setattr(stages, "DRAWING_SEED", seed)
        stages.pictures.cache_clear()
        color = mixture.mixed_pictures(pairs, seed, tmp_path, 64, None).color
        encoded = stages.encoded_pictures(run, 64)
        np.testing.assert_array_equal(encoded.tokens, stages.all_tokens(towers, color))
        np.testing.assert_array_equal(encoded.latent, stages.latents(encoder, color))


def test_a_run_can_go_on_with_a_larger_share_and_has_enough_steps_to_warm_up(demo_module, tmp_path):
    stages = demo_module("stages")
    runs = [stages.DemoRun(tmp_path, tmp_path, share) for share in (0.001, 0.1, 1.0)]
    assert [run.of(8000) for run in runs] == [2 * stages.WARMUP, 800, 8000]


def test_a_run_of_no_share_or_from_no_model_says_so(demo_module, tmp_path):
    stages = demo_module("stages")
    for share in (0.0, 1.5):
        with pytest.raises(ValueError, match=f"share: is {share:g}; allowed is more than 0, up to 1"):
            stages.DemoRun(tmp_path, tmp_path, share)
    with pytest.raises(ValueError, match=r"has no colorize-demo\.safetensors"):
        stages.DemoRun(tmp_path, tmp_path, start=tmp_path)
    with pytest.raises(ValueError, match="keep: there is no clip yet"):
        stages.DemoRun(tmp_path, tmp_path, unchanged=("clip",))
    assert stages.DemoRun(tmp_path, tmp_path, start=DEMO).start == DEMO


def test_a_part_is_trained_step_by_step_and_a_larger_share_goes_on_with_it(demo_module, tmp_path):
    stages, steps = demo_module("stages"), []

    def loss(model, rng, step):
        steps.append(step)
        return (model(torch.ones(1, 1)) - rng.random()).square().mean()

    for share in (0.001, 0.026):
        run = stages.DemoRun(tmp_path, tmp_path, share)
        with torch.inference_mode(False):
            stages.trained_part("clip", torch.nn.Linear(1, 1), loss, 8000, 1e-3, run)
    assert steps == list(range(208)) and (tmp_path / "clip" / "step-00000208").is_dir()


def test_a_part_that_is_to_stay_is_that_of_the_file(demo_module, tmp_path):
    stages = demo_module("stages")
    run = stages.DemoRun(tmp_path, tmp_path, start=DEMO, unchanged=("autoencoder",))
    given = demo_module("vae").file_weights(DEMO / CHECKPOINT)
    assert all(torch.equal(weight, given[key]) for key, weight in stages.autoencoder(run).state_dict().items())
    assert not list(tmp_path.iterdir())


def test_an_unseen_pictures_error_is_that_of_its_paper_and_its_spread_that_of_pairs(demo_module):
    measure = demo_module("measure_art")
    sketch = np.full((2, 8, 8), 255, np.uint8)
    sketch[:, :4] = 254  # ink
    truth = np.zeros((2, 8, 8, 3), np.uint8)
    color = truth.copy()
    color[:, :4] = 200
    color[0, 4:] = 30
    assert measure.paper_error(color, truth, sketch).tolist() == [30, 0]
    alike = np.repeat(np.arange(64.0), 2)
    assert np.isclose(measure.bootstrap_error(alike), np.arange(64).std() / 8, rtol=0.1)
    assert measure.bootstrap_error(np.array([1.0, np.nan, 1.0, 1.0, np.nan, np.nan])) == 0


def test_own_unseen_pictures_are_those_of_the_other_tables(demo_module):
    measure, evaluate = demo_module("measure_art"), demo_module("evaluate")
    assert measure.OWN_SEED == evaluate.UNSEEN_SEED
    own = measure.unseen_pictures(measure.OWN_SET, None, pairs=2, size=64)
    drawn = demo_module("data").draw_pairs(2, measure.OWN_SEED, 64)
    assert np.array_equal(own.color, drawn.color) and own.words == drawn.words
    partner = np.arange(4) ^ 1
    assert np.isclose(
        np.nanmean(measure.region_errors(own.color, own, partner)),
        evaluate.figures_color_error(own.color, drawn, partner),
    )


def test_background_hair_and_shirts_of_unseen_figures_take_the_references_colors(demo_files, node, demo_module):
    figures, pictures = demo_module("figures"), demo_module("data").draw_pairs(PAIRS, UNSEEN_SEED, SIZE)
    partner = np.arange(2 * PAIRS) ^ 1
    model, vae = node("LoadCheckpoint").execute(CHECKPOINT).result
    clip_vision, _ = node("LoadCLIP").execute(CLIP).result
    reference = torch.from_numpy(pictures.color[partner]) / 255
    drawing = torch.from_numpy(pictures.sketch)[..., None].expand(-1, -1, -1, 3) / 255
    (tokens,) = node("EncodeReference").execute(clip_vision, reference).result
    canvas, latent = node("PrepareSketch").execute(drawing, SIZE, SIZE, "black lines on white", 2 * PAIRS).result
    (sketch,) = node("EncodeSketch").execute(canvas, 1.0).result
    sampler = node("Sampler")
    (latent,) = sampler.execute(model, tokens, sketch, latent, 0, 12, 3.0, 1.0, "dpmpp_2m", "karras", 1.0).result
    result = vae.decode(latent["samples"]).mul(255).numpy()

    def hits(region):
        table, index = figures.COLORS[region], figures.REGIONS[region]
        medians = [
            np.median(image[regions == index], axis=0) for image, regions in zip(result, pictures.regions, strict=True)
        ]
        nearest = [min(table, key=lambda name: np.square(color - table[name]).sum()) for color in medians]
        return np.mean([name == words.get(region) for name, words in zip(nearest, pictures.words, strict=True)])

    assert hits("background") >= 0.8 and hits("hair") >= 0.8 and hits("shirt") >= 0.6


def test_local_text_gives_most_shirts_of_unseen_figures_the_target_color(pack, demo_files, node, demo_module):
    evaluate, pictures = demo_module("evaluate"), demo_module("data").draw_pairs(PAIRS, UNSEEN_SEED, SIZE)
    model, vae = node("LoadCheckpoint").execute(CHECKPOINT).result
    clip_vision, clip = node("LoadCLIP").execute(CLIP).result
    thresholds = {f"threshold_{i}": value for i, value in enumerate(pack.colorize_core.manipulation.THRESHOLDS)}
    words = [pictures.words[2 * i + 1]["shirt"] for i in range(PAIRS)]
    targets = ["green" if word == "blue" else "blue" for word in words]
    found = []
    for i, (anchor, target) in enumerate(zip(words, targets, strict=True)):
        reference, drawing = (
            torch.from_numpy(picture)[None] / 255
            for picture in (pictures.color[2 * i + 1], np.repeat(pictures.sketch[2 * i][..., None], 3, axis=-1))
        )
        (tokens,) = node("EncodeReference").execute(clip_vision, reference).result
        tokens, _ = (
            node("LocalText")
            .execute(
                tokens,
                clip,
                f"{target} shirt",
                f"{anchor} shirt",
                "shirt",
                8.0,
                True,
                **thresholds,
                text_layer="penultimate",
            )
            .result
        )
        canvas, latent = node("PrepareSketch").execute(drawing, SIZE, SIZE, "black lines on white", 1).result
        (sketch,) = node("EncodeSketch").execute(canvas, 1.0).result
        sampling = 0, 12, 3.0, 1.0, "dpmpp_2m", "karras", 1.0
        (latent,) = node("Sampler").execute(model, tokens, sketch, latent, *sampling).result
        image = vae.decode(latent["samples"])[0].mul(255).numpy()
        found.append(evaluate.nearest_name(evaluate.region_color(image, pictures.regions[2 * i], "shirt"), "shirt"))
    assert sum(name == target for name, target in zip(found, targets, strict=True)) > PAIRS / 2, (found, targets)


def test_the_evaluation_says_of_how_many_pictures_each_of_its_rows_is(
    demo_files, demo_module, monkeypatch, capsys, tmp_path
):
    evaluate = demo_module("evaluate")
    for name, value in {"UNSEEN_PAIRS": 2, "FEWER_PAIRS": 1, "SAMPLING_STEPS": 2}.items():
        monkeypatch.setattr(evaluate, name, value)
    evaluate.measure_colors(evaluate.load_demo(DEMO), SIZE, tmp_path)
    head, *rows = (line.split(" | ") for line in capsys.readouterr().out.splitlines())
    assert head[-1] == "pictures"
    assert {row[0]: row[-1] for row in rows} == {"guidance 2.5": "4", "autoencoder alone": "2", "no reference": "2"}
    assert all(len(row) == len(head) for row in rows)
    assert (tmp_path / f"demo-sheet-{SIZE}.png").exists()


def test_its_clip_knows_every_word_of_the_figures(demo_module):
    import open_clip

    words = {word for table in demo_module("figures").COLORS.values() for word in table} - {"night", "sunset"}
    words |= {"hair", "shirt", "skirt", "trousers", "skin", "eyes", "background"}
    known = set(load_file(DEMO / CLIP)["token_embedding.ids"].tolist())
    for word in sorted(words):
        tokens = open_clip.tokenize([word])[0]
        assert set(tokens[tokens > 0].tolist()) <= known, word

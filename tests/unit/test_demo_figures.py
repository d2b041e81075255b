from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from demo import clip, colorizer, data, figures, mixture, scenes, vae
from demo.words import FIRST_OF_DRAWING, MORE_REGIONS, NOUN_COLORS, UNNAMED


def test_a_seed_gives_the_same_figures_and_another_seed_others():
    first, again, other = (data.draw_pairs(2, seed, 64) for seed in (1, 1, 5))
    assert np.array_equal(first.color, again.color) and first.words == again.words
    assert not np.array_equal(first.color, other.color)


def test_a_pair_shares_its_colors_and_not_its_shapes():
    pictures = data.draw_pairs(8, 1, 64)
    for left, right in zip(pictures.words[::2], pictures.words[1::2], strict=True):
        assert all(left[noun] == right[noun] for noun in left.keys() & right.keys())
    assert all((a != b).mean() > 0.02 for a, b in zip(pictures.sketch[::2], pictures.sketch[1::2], strict=True))


def test_regions_have_the_colors_that_the_words_say():
    pictures = data.draw_pairs(16, 1, 128)
    for color, regions, words in zip(pictures.color, pictures.regions, pictures.words, strict=True):
        for noun in words.keys() & {"background", "hair", "shirt"}:
            median = np.median(color[regions == figures.REGIONS[noun]], axis=0)
            assert np.abs(median - figures.COLORS[noun][words[noun]]).max() <= figures.JITTER + 1


def test_pictures_are_saved_and_read_again(tmp_path):
    drawn, read = data.cached_pairs(2, 1, tmp_path, 64), data.cached_pairs(2, 1, tmp_path, 64)
    assert np.array_equal(drawn.regions, read.regions) and drawn.words == read.words == data.draw_pairs(2, 1, 64).words
    assert [path.name for path in tmp_path.iterdir()] == ["pictures-64-2-1.npz"]


def test_the_autoencoders_latent_is_color_and_contrast_of_each_patch():
    red = torch.tensor([1.0, -1.0, -1.0])[:, None, None].expand(3, 16, 24)
    latent = vae.prescribed_latent(red[None])
    assert latent.shape == (1, 4, 2, 3)
    deviation, mean = torch.tensor(vae.LATENT_DEVIATION), torch.tensor(vae.LATENT_MEAN)
    values = latent[0, :, 0, 0] * deviation + mean
    assert torch.allclose(values, torch.tensor([-1 / 3, 2.0, 1.0, 0.0]), atol=1e-3)


def test_pairs_of_whole_figures_are_drawn_more_often():
    skirt, bust = {"hair": "red", "skirt": "blue"}, {"hair": "red"}
    regions = np.zeros((8, 10, 10), np.uint8)
    for legs, rows in zip(regions[:5], (4, 4, 1, 4, 4), strict=True):
        legs[:rows, :2] = figures.BOTTOM
    drawn = data.DrawnPictures(regions, regions, regions, [skirt] * 5 + [bust] * 3)
    expected = np.array([*[colorizer.WHOLE_FIGURES] * 3, colorizer.LITTLE_LEGS, *[1] * 4])
    assert np.allclose(colorizer.chances(drawn), expected / expected.sum())


def test_recolored_pictures_differ_from_the_drawn_ones_in_one_region_and_in_nothing_of_their_shape():
    drawn, recolored = data.draw_pairs(12, 1, 64), data.draw_pairs(12, 1, 64, recolor=True)
    assert np.array_equal(drawn.sketch, recolored.sketch) and np.array_equal(drawn.regions, recolored.regions)
    changed = colorizer.changes(drawn.words, recolored.words)
    assert len(set(changed[:, 0])) > 3
    for before, after, (noun, old, new) in zip(drawn.words, recolored.words, changed, strict=True):
        differing = [name for name in before if before[name] != after[name]]
        if noun < 0:
            assert not differing
        else:
            (name,) = differing
            phrases = [clip.PHRASES[index] for index in (noun, old, new)]
            assert phrases == [(None, name), (before[name], name), (after[name], name)]


def test_small_regions_count_more_and_a_pictures_weights_have_mean_1():
    regions = np.stack([np.zeros((64, 64), np.uint8), data.draw_pairs(1, 1, 64).regions[0]])
    regions[0, :4, :4] = figures.EYES
    weight = data.area_weights(regions, 0.75)
    assert np.allclose(weight.mean(axis=(1, 2)), 1)
    assert np.isclose(weight[0, 0, 0] / weight[0, -1, -1], ((64 * 64 - 16) / 16) ** 0.75)


def test_a_trained_edit_swaps_the_correlations_of_two_phrases_in_cls_and_region():
    control, anchor, target = torch.eye(8)[:3]
    tokens = torch.zeros(17, 8)
    tokens[0, 1] = 8.0
    tokens[1:9] = 8 * control + 8 * anchor  # half of the reference is the region
    edited = colorizer.edit_tokens(tokens, torch.stack([control, anchor, target]), np.random.default_rng(0))
    assert torch.allclose(edited[0] @ anchor, torch.zeros(()), atol=1e-5) and edited[0] @ target >= 6
    assert (edited[1:9] @ target > 6 - 1e-4).all() and (edited[1:9] @ anchor < 2 + 1e-4).all()
    assert torch.equal(edited[1:9] @ control, tokens[1:9] @ control)


@pytest.mark.parametrize("share", (0.0, 1.0))
def test_training_recolors_exactly_the_pictures_whose_references_are_edited(monkeypatch, share):
    """Even pictures' references show the changed region, odd ones' do not. Latents and weights hold their number."""
    given = {}

    def keep(model, latent, sketch, tokens, draws, strategy, prediction, alphas, weight):
        given.update(latent=latent, tokens=tokens, weight=weight)

    monkeypatch.setattr(colorizer, "colorizer_loss", keep)
    monkeypatch.setattr(colorizer, "EDITED", share)
    monkeypatch.setattr(colorizer, "OWN_REFERENCE", 0.0)
    monkeypatch.setattr(colorizer, "CLS_BATCHES", 0.0)
    number = np.arange(8, dtype=np.float32)[:, None, None, None]
    tokens = np.zeros((8, 17, 4), np.float32)
    tokens[:, :9, 1] = 8
    tokens[:, 1:9, 0] = 8
    encoded = colorizer.EncodedPictures(
        latent=np.broadcast_to(number, (8, 4, 2, 2)),
        sketch=np.zeros((8, 16, 16), np.uint8),
        tokens=tokens,
        chance=np.full(8, 1 / 8),
        recolored=np.broadcast_to(number + 100, (8, 4, 2, 2)),
        change=np.where(np.arange(8)[:, None] % 2, [0, 1, 2], -1),
        phrases=torch.eye(4)[:3],
        weight=np.broadcast_to(number, (8, 1, 2, 2)),
    )
    colorizer.figures_loss(torch.nn.Linear(1, 1), encoded, 64, np.random.default_rng(0))
    picks = given["weight"][:, 0, 0, 0]
    edited = (picks % 2 == 0) & (share == 1)
    assert torch.equal(given["latent"][:, 0, 0, 0], picks + 100 * edited)
    assert torch.equal((given["tokens"][..., 2] > 1).any(dim=1), edited)


def test_the_autoencoders_batch_is_mirrored_with_its_weights_and_never_empty():
    regions = np.zeros((3, 256, 256), np.uint8)
    regions[:, :9, :5] = figures.EYES
    color = np.repeat(regions[..., None], 3, axis=-1)
    pictures = data.DrawnPictures(color, color[..., 0], regions, [{}] * 3)
    for seed in range(4):
        images, weight = vae.autoencoder_batch(pictures, np.random.default_rng(seed))
        assert images.shape == (1, 3, 256, 256) and weight.shape == (1, 1, 256, 256)
        assert torch.equal(images[:, :1] > -1, weight > 1)


def mixed(words, known, regions=None, names=None, size=28):
    """Pictures in one gray."""
    count = len(words)
    regions = np.zeros((count, size, size), np.uint8) if regions is None else regions
    color = np.full((*regions.shape, 3), 128, np.uint8)
    return mixture.MixedPictures(color, regions, regions, color, words, words, known, names or ["own"] * count)


def test_nouns_that_a_pictures_words_would_not_tell_do_not_train_clip():
    """An emoji may show hair: without a word for it, that is no reason to say that there is none."""
    torch.manual_seed(0)
    model = clip.ReadableClip()

    def loss(known):
        pictures = mixed([{"background": "blue"}] * 2, [known] * 2)
        torch.manual_seed(1)
        return clip.clip_loss(model, pictures, np.random.default_rng(2), batch=2)

    phrases = [clip.text_of(phrase) for phrase in clip.PHRASES if phrase[1] == "hair"]
    gradients = []
    for known in (["background"], ["background", "hair"]):
        features = clip.text_features(model.towers, phrases, 3).detach()
        grad = torch.autograd.grad(loss(known), model.towers.visual.proj)[0]
        gradients.append((grad @ features.T).abs().sum().item())
    assert clip.known_phrases(["background"]).sum() == 1 + len(NOUN_COLORS["background"])
    assert loss(["background", "hair"]) > loss(["background"]) and gradients[0] != gradients[1]


def test_a_patchs_colors_can_be_read_out_quarter_by_quarter():
    color = np.zeros((1, 64, 64, 3), np.uint8)
    color[0, :2, :2] = 255  # the first quarter of the first patch
    colors = clip.patch_colors(color).unflatten(-1, (3, clip.QUARTERS**2))
    assert colors.shape == (1, clip.GRID**2, 3, 4)
    assert colors[0, 0, 0].tolist() == [1, -1, -1, -1] and (colors[0, 1:, 0] == -1).all()
    assert (colors[:, :, 1:] == 0).all()


def test_a_clips_file_gives_back_its_towers_and_leaves_other_words_as_they_are(tmp_path):
    torch.manual_seed(0)
    saved, fresh = clip.build_clip(), clip.build_clip()
    ids = clip.vocabulary()[:5]
    weights = saved.state_dict()
    embedding = weights["token_embedding.weight"][ids].clone()
    save_file(
        weights | {"token_embedding.weight": embedding, "token_embedding.ids": ids}, tmp_path / "clip.safetensors"
    )
    other = fresh.token_embedding.weight.detach().clone()
    clip.load_towers(fresh, tmp_path / "clip.safetensors")
    other[ids] = embedding
    assert torch.equal(fresh.token_embedding.weight, other)
    assert torch.equal(fresh.visual.proj, saved.visual.proj)


def test_every_word_that_a_picture_can_have_is_a_phrase():
    drawn = data.draw_pairs(4, 1, 64).words
    drawn += [{noun: color} for noun, colors in NOUN_COLORS.items() for color in colors]
    assert all((color, noun) in clip.PHRASE_INDEX for each in drawn for noun, color in each.items())
    assert len(set(MORE_REGIONS.values()) | {UNNAMED}) == len(MORE_REGIONS) + 1
    assert max(MORE_REGIONS.values()) < UNNAMED < FIRST_OF_DRAWING


def test_own_figures_are_seen_as_often_as_their_share_says_however_rare_their_legs_are():
    shown = [{"hair": "red", "skirt": "blue"}] * 2 + [{"hair": "red"}] * 2 + [{"background": "blue"}] * 2
    names = ["own"] * 4 + ["noto/ball"] * 2
    chance = colorizer.mixed_chances(mixed(shown, [["hair"]] * 6, names=names))
    assert np.isclose(chance[:4].sum(), mixture.KIND_SHARES["own"]) and np.isclose(chance.sum(), 1)
    assert chance[0] == colorizer.LITTLE_LEGS * chance[2] and chance[4] == chance[5]


def test_the_latent_is_anchored_and_moved_by_what_the_decoder_draws():
    class Mirror(torch.nn.Module):
        """Encodes the prescribed latent, and a little more; decodes gray."""

        def __init__(self):
            super().__init__()
            self.shift, self.gray = torch.nn.Parameter(torch.zeros(())), torch.nn.Parameter(torch.zeros(()))

        def encode(self, picture):
            return (vae.prescribed_latent(picture) + self.shift) / vae.SCALE

        def decode(self, latent):
            return torch.zeros(len(latent), 3, 16, 16) + self.gray * latent.mean()

    torch.manual_seed(0)
    model, target = Mirror(), torch.rand(2, 3, 16, 16)
    weight = torch.ones(2, 1, 16, 16)
    plain = vae.autoencoder_loss(model, target, weight).item()
    model.shift.data += 1
    assert np.isclose(vae.autoencoder_loss(model, target, weight).item() - plain, vae.ANCHOR, atol=1e-5)
    model.shift.data -= 1
    model.gray.data += 1
    vae.autoencoder_loss(model, target, weight).backward()
    assert model.shift.grad.abs() > 1e-3  # of the decoder alone: the anchor is at its least


def test_the_pictures_that_come_with_the_model_are_those_that_its_code_draws():
    folder = Path(scenes.__file__).parent
    pictures = scenes.example_pictures()
    assert {path.name for path in folder.glob("*.png")} == pictures.keys()
    for name, picture in pictures.items():
        committed = Image.open(folder / name)
        assert (committed.mode, committed.size) == (picture.mode, picture.size), name
        assert np.abs(np.subtract(committed, picture, dtype=np.int16)).mean() < 1, name


def test_a_scenes_mask_covers_its_character_and_its_lines_lie_in_it():
    pictures = scenes.example_pictures()
    mask, paper = (np.asarray(pictures[name]) for name in ("right-character.png", "two-characters.png"))
    mask, beside = mask > 127, mask == 0
    assert 0.1 < mask.mean() < 0.5 and not mask[:, :512].any()
    assert 0.8 < (paper[mask] > 127).mean() < 0.97  # paper, and its lines
    assert (paper[:300, 530:][beside[:300, 530:]] == 255).all()  # above the hills there are no others


def test_paths_are_moved_by_their_points():
    assert scenes.moved_path("M1 2 C3,4 5 6 7 8 Z", (-1, 2), (10, 1)) == "M9 5 C7 9 5 13 3 17 Z"

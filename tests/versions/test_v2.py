"""ColorizeDiffusion v2 agrees with the published implementation, through the pack's nodes."""

import pytest
import torch
from figures import BACKGROUND, FOREGROUND, LATENT_SCALE, PICTURE, STYLE

MIXED = {"foreground_strength": 0.9, "background_strength": 0.7, "merging": 0.25, "sketch_threshold": 0.6}
EXTRA = [
    ("eps", {}),
    ("eps.style", STYLE),
    ("eps.style_picture_merge0.3", STYLE | PICTURE | {"merging": 0.3}),
    ("eps.style_picture_merge0", STYLE | PICTURE),
    ("eps.background", BACKGROUND),
    ("eps.background_picture", BACKGROUND | PICTURE),
    ("eps.style_background", BACKGROUND | STYLE),
    ("eps.style_background_picture_merge0.3", BACKGROUND | STYLE | PICTURE | {"merging": 0.3}),
    ("eps.background_fg0.9_bg0.7_merge0.25_thr0.6", BACKGROUND | MIXED),
    ("eps.background_thr0.6", BACKGROUND | {"sketch_threshold": 0.6}),
    ("eps.background_factor0.5", BACKGROUND | {"background_factor": 0.5}),
    ("eps.background_strength0.55", BACKGROUND | {"strength": 0.55}),
    ("eps.fg_enhance", FOREGROUND),
    ("eps.fg_enhance_fg0.9_bg0.7_merge0.25_thr0.6", FOREGROUND | MIXED),
    ("eps.fg_background", BACKGROUND | FOREGROUND),
    ("eps.fg_enhance_style_picture_merge0.3", FOREGROUND | STYLE | PICTURE | {"merging": 0.3}),
]
# Float32 rounding, which nearly hard attention enlarges; a wrong formula is off by more than 0.1.
WIDER = {"eps.background": 1e-2, "eps.background_factor_0.5": 1e-2, "eps.style_background": 1e-2}


@pytest.fixture(scope="module")
def extra(read_golden):
    return read_golden("tiny_v2_extra")


@pytest.fixture(scope="module")
def base(read_golden):
    return read_golden("tiny_v2")


@pytest.fixture
def base_tokens(base, figure_tokens):
    """`base_tokens(**options)`: the golden's tokens, latents and mask with a figure of these options."""
    latents = {f"{part}_latent": base[f"{part}_latent"] / LATENT_SCALE for part in ("reference", "background")}
    sizes = {"reference_size": size_in(base, "large"), "background_size": size_in(base, "small")}
    return lambda **options: figure_tokens(base, background_given=True, **latents, **sizes, **options)


def embedding_of(golden, kind: str) -> str:
    """The name of the golden's size embedding of this kind."""
    return next(key for key in golden.tensors if key.startswith(f"size_embedding.{kind}_"))


def size_in(golden, kind: str) -> tuple[int, int]:
    height, width = embedding_of(golden, kind).rpartition("_")[2].split("x")
    return int(height), int(width)


@pytest.mark.parametrize(("name", "options"), EXTRA, ids=[name for name, _ in EXTRA])
def test_it_colors_as_published(check_extra, extra, name, options):
    check_extra(extra, name, options)


def test_the_style_encoder_gives_the_published_modulations(open_version, base, assert_golden):
    encoder = open_version("tiny_v2").model.diffusion_model.style_encoder
    styles = encoder(base["reference_latent"], base["context"], base[embedding_of(base, "large")])
    assert len(styles) == 3 * len(base.config["mult"])
    for i, style in enumerate(styles):
        assert_golden(style, base[f"style_modulation.{i}"])


def test_the_background_encoder_gives_the_published_features(open_version, base, assert_golden):
    encoder = open_version("tiny_v2").model.diffusion_model.bg_encoder
    features = encoder(base["background_latent"], base["background_tokens"], base[embedding_of(base, "small")])
    assert len(features) == 3 * len(base.config["mult"])
    for i, feature in enumerate(features):
        assert_golden(feature, base[f"background_features.{i}"])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("eps", {}),
        ("eps.style", STYLE),
        ("eps.background", BACKGROUND),
        ("eps.background_factor_0.5", BACKGROUND | {"background_factor": 0.5}),
        ("eps.style_background", BACKGROUND | STYLE),
    ],
)
def test_sizes_unlike_the_canvas(
    pack, open_version, base, base_tokens, conditionings, predict, assert_golden, monkeypatch, name, options
):
    module = pack.colorize_core.host.background_features
    encode_once = module.encode_once

    def encode_with_background_tokens(model, encoder, latent, tokens, size, device):
        """The golden has them as context in every case."""
        return encode_once(model, encoder, latent, base["background_tokens"], size, device)

    monkeypatch.setattr(module, "encode_once", encode_with_background_tokens)
    positive = conditionings(base, base_tokens(**options))[0]
    assert_golden(predict(open_version("tiny_v2"), positive, base), base[name], WIDER.get(name, 1e-4))


def test_pictures_are_encoded_once_for_a_run_and_nothing_of_them_stays(
    pack, node, open_version, extra, with_figure, monkeypatch
):
    encoded = pack.colorize_core.host.encoded
    runs = []
    encode = encoded.encode
    monkeypatch.setattr(encoded, "encode", lambda *args: runs.append(args[1]) or encode(*args))
    model = open_version("tiny_v2_extra")
    unet = model.model.diffusion_model
    tokens = with_figure(extra, **BACKGROUND, **STYLE)
    sketch = pack.colorize_core.sketch.Sketch(extra["sketch"].float() / 127.5 - 1)
    height, width = extra.config["hw"]
    latent = {"samples": torch.zeros(1, 4, height // 8, width // 8)}
    node("Sampler").execute(model, tokens, sketch, latent, 1, 2, 4.0, 2.0, "euler", "normal", 1.0)
    assert {type(encoder) for encoder in runs} == {type(unet.style_encoder), type(unet.bg_encoder)}
    assert len(runs) == 2
    assert not encoded.encodings

"""Figure and Background: what the node makes of its inputs."""

import pytest
import torch
from figures import BACKGROUND, FOREGROUND, OPTIONS, STYLE, StandInVAE


@pytest.fixture
def clip_vision(node, tiny_clip):
    return node("LoadCLIP").execute(tiny_clip).result[0]


@pytest.fixture
def keep_apart(node, clip_vision):
    """`keep_apart(**inputs)`: the node's tokens for a picture whose left half is the figure."""
    image = torch.rand(1, 40, 60, 3, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 40, 60)
    mask[:, :, :30] = 1
    tokens = node("EncodeReference").execute(clip_vision, image).result[0]

    def run(**inputs):
        defaults = {"sketch_mask": mask, "reference_mask": mask}
        inputs = OPTIONS | defaults | inputs
        return node("FigureAndBackground").execute(tokens, clip_vision, image, **inputs).result[0]

    return run


CANVAS = {"samples": torch.zeros(1, 4, 8, 12)}
WHOLE = torch.ones(1, 8, 8)


def test_all_off_leaves_the_reference_as_it_is(keep_apart):
    assert keep_apart().figure is None


def test_the_background_is_the_reference_with_its_figure_white(keep_apart, node, clip_vision):
    image = torch.rand(1, 40, 60, 3, generator=torch.Generator().manual_seed(0))
    image[:, :, :30] = 1
    expected = node("EncodeReference").execute(clip_vision, image).result[0]
    figure = keep_apart(**BACKGROUND).figure
    assert torch.equal(figure.background_local, expected.local) and torch.equal(figure.background_cls, expected.cls)
    assert not figure.background_given


def test_a_background_picture_takes_the_reference_background_s_place(keep_apart, node, clip_vision):
    picture = torch.rand(1, 30, 30, 3)
    expected = node("EncodeReference").execute(clip_vision, picture).result[0]
    figure = keep_apart(**BACKGROUND, background=picture, reference_mask=None).figure
    assert torch.equal(figure.background_local, expected.local) and figure.background_given
    painted = keep_apart(**BACKGROUND, background=picture, background_mask=WHOLE).figure
    white = node("EncodeReference").execute(clip_vision, torch.ones_like(picture)).result[0]
    assert torch.equal(painted.background_local, white.local)


def test_pictures_are_read_at_the_size_of_the_canvas(keep_apart):
    figure = keep_apart(**BACKGROUND, **STYLE, vae=StandInVAE(), latent=CANVAS).figure
    assert figure.reference_latent.shape == figure.background_latent.shape == (1, 4, 8, 12)
    assert figure.reference_size == figure.background_size == (40, 60)


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        (BACKGROUND | {"sketch_mask": None}, "sketch_mask: .* need the mask of the drawing's figure"),
        (FOREGROUND | {"sketch_mask": None}, "sketch_mask: .* need the mask of the drawing's figure"),
        (BACKGROUND | {"reference_mask": None}, "reference_mask: background_enhance needs the mask .* or a background"),
        (BACKGROUND | {"background_mask": WHOLE}, "background_mask: there is no background picture for it"),
        (STYLE, "vae: style_enhance reads the reference at the size of the picture"),
        (STYLE | {"vae": StandInVAE()}, "latent: vae and latent go together"),
        (STYLE | {"latent": CANVAS}, "vae: vae and latent go together"),
        (BACKGROUND | {"sketch_mask": torch.full((1, 8, 8), torch.nan)}, "sketch_mask: it holds values that are not"),
        (BACKGROUND | {"reference_mask": torch.zeros(0, 8, 8)}, "reference_mask: there is no pixel in it"),
    ],
)
def test_what_is_missing_or_wrong_is_said(keep_apart, inputs, sentence):
    with pytest.raises(ValueError, match=sentence):
        keep_apart(**inputs)


def test_a_vae_of_another_kind_is_refused(keep_apart):
    class OtherVAE:
        def encode(self, pixels):
            return torch.zeros(1, 16, 8, 12)

    with pytest.raises(
        ValueError, match=r"vae: its latent has the shape \[16, 8, 12\], and the input latent \[4, 8, 12\]"
    ):
        keep_apart(**STYLE, vae=OtherVAE(), latent=CANVAS)


def test_text_nodes_keep_the_figure(keep_apart, node, tiny_clip):
    tokens = keep_apart(**BACKGROUND)
    clip = node("LoadCLIP").execute(tiny_clip).result[1]
    edited = node("GlobalText").execute(tokens, clip, "red hair", "", 5.0, False, "penultimate").result[0]
    assert edited.figure is tokens.figure and not torch.equal(edited.cls, tokens.cls)

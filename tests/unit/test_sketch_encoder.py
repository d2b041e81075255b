import torch

from colorize_core.networks.sketch_encoder import SketchEncoder
from colorize_core.versions.v1 import VERSION

PREFIX = "control_encoder."


def golden_encoder(state_dict):
    encoder = SketchEncoder(model_channels=32)
    encoder.load_state_dict({k.removeprefix(PREFIX): v for k, v in state_dict.items() if k.startswith(PREFIX)})
    return encoder


@torch.no_grad()
def test_a_hint_has_the_size_that_a_latent_of_any_size_has_at_its_level():
    encoder = SketchEncoder(model_channels=32)
    for height, width in (16, 24), (9, 13), (1, 1):
        hints = encoder(torch.zeros(1, 3, 8 * height, 8 * width))
        for hint, downscale in zip(hints, VERSION.hints.downscales, strict=True):
            assert hint.shape[2:] == (-(-height // downscale), -(-width // downscale))


@torch.no_grad()
def test_width_and_multipliers_give_the_channels():
    hints = SketchEncoder(model_channels=32, channel_mult=(1, 2, 2, 2))(torch.zeros(1, 3, 64, 64))
    assert [hint.shape[1] for hint in hints] == [32, 32, 64, 64, 64]


@torch.no_grad()
def test_each_sketch_of_a_batch_keeps_its_own_hints(golden, golden_state_dict, assert_golden):
    encoder = golden_encoder(golden_state_dict)
    sketches = torch.cat([golden["sketch"], golden["injected_sketch"]])
    for both, first, second in zip(encoder(sketches), encoder(sketches[:1]), encoder(sketches[1:]), strict=True):
        assert_golden(both, torch.cat([first, second]))

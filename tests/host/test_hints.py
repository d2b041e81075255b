"""The sketch's hints: at the latent's size, made once, cropped with an area, beside a ControlNet."""

import pytest
import torch
from small import SIZE, WIDTH, empty_latent, rand


def test_a_latent_of_another_size_gets_the_sketch_resized(colorize, sketch):
    out = colorize(latent=empty_latent(size=2 * SIZE))
    assert out.shape[2:] == (2 * SIZE, 2 * SIZE)
    small = sketch()
    assert not torch.allclose(out, colorize(latent=empty_latent(size=2 * SIZE), sketch=sketch(1)), atol=1e-2)
    doubled = torch.nn.functional.interpolate(small.pixels, scale_factor=2.0, mode="bilinear")
    torch.testing.assert_close(
        out, colorize(latent=empty_latent(size=2 * SIZE), sketch=type(small)(doubled)), atol=1e-3, rtol=1e-3
    )


def test_a_latent_of_another_aspect_than_the_sketch_is_refused(colorize, ksampler, condition, tokens, sketch):
    wide = {"samples": torch.zeros(1, 4, 16, 32)}
    positive, no_reference, _ = condition(tokens(), sketch())
    for use in (
        lambda: colorize(latent=wide),
        lambda: ksampler(positive=positive, negative=no_reference, latent_image=wide),
    ):
        with pytest.raises(ValueError, match=r"latent: .* 256x128 pixels, of another aspect .* sketch \(64x64\)"):
            use()


def test_a_sketch_of_a_single_pixel_colors(pack, colorize):
    dot = pack.colorize_core.sketch.Sketch(torch.ones(1, 3, 1, 1))
    assert colorize(sketch=dot).isfinite().all()


@pytest.mark.parametrize("guidances", [(4.0, 1.0), (4.0, 2.0)])
def test_a_sketch_is_encoded_before_the_first_step_and_not_again(model, colorize, guidances):
    calls = []
    hook = model.model.diffusion_model.control_encoder.register_forward_hook(lambda *_: calls.append(1))
    try:
        counts = []
        for steps in (2, 6):
            calls.clear()
            colorize(steps=steps, reference_guidance=guidances[0], sketch_guidance=guidances[1])
            counts.append(len(calls))
    finally:
        hook.remove()
    assert counts[0] == counts[1] == 3  # for each conditioning of the run


def test_hints_are_cropped_with_an_area_to_the_sizes_the_network_has_there(pack):
    hint = pack.colorize_core.host.hints.CONDHint
    latent = torch.arange(20.0)[None, None, :, None].expand(1, 1, 20, 20)
    for downscale in (1, 2, 4, 8):
        side = -(-20 // downscale)
        whole = hint(latent[:, :, :side, :side], downscale)
        for top in range(12):
            for size in range(1, 20 - top + 1):
                cropped = whole.process_cond(batch_size=3, area=(size, 7, top, 13)).cond
                assert cropped.shape == (3, 1, -(-size // downscale), -(-7 // downscale))
                assert cropped[0, 0, 0, 0] == top // downscale


def test_control_and_hints_add_up(model):
    """At a hint's block the network sees its output + control + hint, in whichever way the two are shared out."""
    unet = model.model.diffusion_model
    x, t, context = rand(1, 4, SIZE, SIZE), torch.tensor([500.0]), rand(1, 16, WIDTH)
    hints = unet.control_encoder(rand(1, 3, 8 * SIZE, 8 * SIZE))
    residual = rand(1, 32, SIZE, SIZE)
    control = {"input": [*[None] * 11, residual]}  # its last entry belongs to the first block
    names = [f"hint_{k}" for k in range(5)]
    both = unet(x, t, context=context, control=control, **dict(zip(names, hints, strict=True)))
    added = unet(x, t, context=context, **dict(zip(names, [hints[0] + residual, *hints[1:]], strict=True)))
    torch.testing.assert_close(both, added, atol=1e-4, rtol=1e-4)

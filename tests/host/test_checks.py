"""What every node checks before it runs: literals in sockets, numbers out of range, values that are not numbers."""

import sys

import numpy as np
import pytest
import torch

NAN = float("nan")
PICTURE = torch.rand(1, 8, 8, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def checked(pack):
    return pack.nodes.checks.checked


@pytest.fixture
def io(host):
    from comfy_api.latest import io

    return io


@pytest.fixture
def echo(checked, io):
    """`echo("Float", value, **options)`: what a node with one input of that type gets of the value."""

    def run(kind, value, **options):
        slot = getattr(io, kind) if hasattr(io, kind) else io.Custom(kind)

        class Echo(io.ComfyNode):
            @classmethod
            def define_schema(cls):
                return io.Schema(node_id="Echo", display_name="Echo", inputs=[slot.Input("value", **options)])

            @classmethod
            def execute(cls, value):
                return io.NodeOutput(value)

        return checked(Echo).execute(value=value).result[0]

    return run


def test_every_node_of_the_pack_is_checked(pack, host):
    nodes = [cls for name, cls in host.NODE_CLASS_MAPPINGS.items() if name.startswith("ColorizeDiffusion_")]
    assert nodes and all(hasattr(cls.execute, "__wrapped__") for cls in nodes)


@pytest.mark.parametrize("value", [NAN, float("inf"), 2.5, -0.5, 1e38, "1", None, True])
def test_a_number_that_is_none_or_out_of_range_is_refused_with_its_range(echo, value):
    with pytest.raises(ValueError, match=r"^value: it is .*\. Give a number from 0\.0 to 2\.0\.$"):
        echo("Float", value, min=0.0, max=2.0)


@pytest.mark.parametrize("value", [0, 0.5, np.float32(0.5), 2])
def test_a_number_in_range_comes_as_it_is(echo, value):
    assert echo("Float", value, min=0.0, max=2.0) is value


def test_whole_numbers_texts_and_switches_are_of_their_types(echo):
    assert echo("Int", 3) == 3 and echo("String", "x") == "x" and echo("Boolean", False) is False
    for kind, value in (("Int", 0.5), ("Int", True), ("String", 3), ("Boolean", 1)):
        with pytest.raises(ValueError, match=r"^value: it is .* Give "):
            echo(kind, value)


def test_what_is_not_among_the_choices_is_refused_with_them(echo):
    assert echo("Combo", "a", options=["a", "b"]) == "a"
    with pytest.raises(ValueError, match=r"^value: 'c' is not among its choices\. Choose one of a, b\.$"):
        echo("Combo", "c", options=["a", "b"])


@pytest.mark.parametrize("kind", ["Image", "Mask", "Latent", "Conditioning", "Model", "Vae", "OWN"])
@pytest.mark.parametrize("literal", ["a text", 3, None, True])
def test_a_literal_in_a_socket_is_refused_with_the_sockets_type(echo, kind, literal):
    with pytest.raises(ValueError, match=rf"^value: .* is no {kind.upper()}\. Connect an output of that type\.$"):
        echo(kind, literal)


def test_an_optional_input_may_stay_empty(echo):
    assert echo("Mask", None, optional=True) is None
    assert echo("String", None, optional=True, default="x") == "x"


@pytest.mark.parametrize("bad", [NAN, float("inf"), 1e38])
def test_values_that_no_model_can_take_are_refused_in_every_kind_of_socket(echo, pack, bad):
    spoiled = torch.zeros(1, 4, 8, 8)
    spoiled[0, 1, 2, 3] = bad
    tokens = pack.colorize_core.tokens.ReferenceTokens(cls=torch.zeros(1, 1, 8), local=spoiled[:, 1])
    sketch = pack.colorize_core.sketch.Sketch(spoiled[:, :3])
    for kind, value in (
        ("Image", spoiled[..., :3].expand(1, 4, 8, 3).clone().fill_(bad)),
        ("Latent", {"samples": spoiled}),
        ("Conditioning", [[torch.zeros(1, 2, 3), {"colorize_cls": spoiled}]]),
        ("COLORIZE_TOKENS", tokens),
        ("COLORIZE_SKETCH", sketch),
    ):
        with pytest.raises(ValueError, match=r"^value: it"):
            echo(kind, value)


def test_masks_of_any_type_and_range_come_as_floats_in_0_to_1(echo):
    mask = torch.tensor([[[-1.0, 0.5], [3.0, 1.0]]])
    assert echo("Mask", mask).tolist() == [[[0.0, 0.5], [1.0, 1.0]]]
    assert echo("Mask", mask[0] > 0.6).tolist() == [[[0.0, 0.0], [1.0, 1.0]]]


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate")],
)
def test_running_out_of_memory_has_words(checked, io, error):
    class Greedy(io.ComfyNode):
        @classmethod
        def define_schema(cls):
            return io.Schema(node_id="Greedy", display_name="Greedy Node", inputs=[])

        @classmethod
        def execute(cls):
            raise error

    with pytest.raises(MemoryError, match=r"^Greedy Node: there is not enough memory .* Make smaller pictures"):
        checked(Greedy).execute()


def test_a_literal_from_a_script_reaches_the_dialog_as_a_sentence(run_prompt):
    prompt = {
        "sketch": {"class_type": "ColorizeDiffusion_EncodeSketch", "inputs": {"sketch_image": "x", "strength": 1.0}},
        "out": {"class_type": "Capture", "inputs": {"value": ["sketch", 0]}},
    }
    run = run_prompt(prompt)
    assert not run.success and "sketch_image: 'x' is no IMAGE. Connect an output of that type." in run.error


def test_options_of_other_packs_may_be_of_any_type(echo):
    others = {"attention_mask": torch.ones(1, 4, dtype=torch.bool), "sigma": float("inf")}
    condition = [[torch.zeros(1, 2, 3), others]]
    assert echo("Conditioning", condition) is condition
    latent = {"samples": torch.zeros(1, 4, 8, 8), "noise_mask": torch.ones(8, 8, dtype=torch.uint8)}
    assert echo("Latent", latent) is latent
    for kind, value in (("Conditioning", [[torch.zeros(1, 2, dtype=torch.int64), {}]]), ("Latent", {"samples": None})):
        with pytest.raises(ValueError, match=r"^value: .* (Make|Connect)"):
            echo(kind, value)


def test_tokens_of_two_types_are_refused(pack, node):
    local = torch.zeros(1, 16, 64)
    mixed = pack.colorize_core.tokens.ReferenceTokens(cls=local[:, :1].bfloat16(), local=local)
    sketch = pack.colorize_core.sketch.Sketch(-torch.ones(1, 3, 64, 64))
    with pytest.raises(ValueError, match=r"^tokens: its parts are of the types torch.bfloat16, torch.float32"):
        node("Conditioning").execute(mixed, sketch)


def test_no_check_is_made_at_a_step(pack, colorize, monkeypatch):
    calls = []

    def counted(check):
        def run(*args):
            calls.append(check.__name__)
            return check(*args)

        return run

    for name in ("is_finite", "check", "checked_mask", "checked_input"):
        for module in [module for key, module in sys.modules.items() if key.startswith(pack.__name__)]:
            if hasattr(module, name):
                monkeypatch.setattr(module, name, counted(getattr(module, name)))
    colorize(steps=2)
    few = calls.copy()
    calls.clear()
    colorize(steps=6)
    assert calls == few and "is_finite" in few


@pytest.mark.parametrize("kind", ["MODEL", "VAE", "CLIP", "CLIP_VISION", "COLORIZE_TOKENS", "COLORIZE_SKETCH"])
def test_what_belongs_into_another_socket_is_refused(echo, node, model, tokens, sketch, tiny_clip, kind):
    clip_vision, clip = node("LoadCLIP").execute(tiny_clip).result
    sockets = {"MODEL": model, "CLIP": clip, "CLIP_VISION": clip_vision}
    sockets |= {"COLORIZE_TOKENS": tokens(), "COLORIZE_SKETCH": sketch()}
    for other, value in sockets.items():
        if other == kind:
            assert echo(kind, value) is value
        else:
            with pytest.raises(ValueError, match=rf"^value: .* is no {kind}\. Connect an output of that type\.$"):
                echo(kind, value)

"""The goldens of the versions, through the MODEL, tokens and conditionings that the pack's nodes make."""

import dataclasses
import functools
import json
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from figures import FILES, OPTIONS, StandInVAE, canvas_mask, image_of, mask_of
from safetensors.torch import load_file, save_file
from small import rand, raw_eps
from weights import tensor_for


@pytest.fixture(autouse=True)
def _inference_mode():
    """As ComfyUI runs its nodes."""
    with torch.inference_mode():
        yield


@dataclass(frozen=True)
class Golden:
    """A golden: its configuration, its tensors, its weights as a checkpoint holds them, and how far float32 lies from
    float64 in each of its outputs."""

    name: str
    config: dict
    tensors: dict[str, torch.Tensor]
    weights: dict[str, torch.Tensor]
    noise: dict[str, float]

    def __getitem__(self, key: str) -> torch.Tensor:
        return self.tensors[key]

    def tolerance(self, key: str) -> float:
        return max(1e-4, 5 * self.noise.get(key, 0))


@pytest.fixture(scope="session")
def read_golden(goldens):
    """`read_golden(name)`: the golden of that name."""

    @functools.cache
    def read(name: str) -> Golden:
        path = goldens / f"{name}.json"
        if not path.exists():
            pytest.skip(f"{goldens} has no {name}")
        document = json.loads(path.read_text())
        shapes = {key: shape for key, shape in document["weights"].items() if not key.startswith("clip.")}
        weights = {key: tensor_for(key, shape) for key, shape in shapes.items()}
        tensors = load_file(path.with_suffix(".safetensors"))
        return Golden(name, document["config"], tensors, weights, document.get("noise", {}))

    return read


@pytest.fixture(scope="session")
def version_file(models_dir, read_golden):
    """`version_file(name)`: the file in models/checkpoints with the weights of the golden of that name."""

    def make(name: str) -> str:
        path = models_dir / "checkpoints" / f"golden-{name}-eps.safetensors"
        if not path.exists():
            golden = read_golden(name)
            metadata = {"num_head_channels": golden.config["hd"]}
            save_file(golden.weights, path, {"colorize_diffusion_config": json.dumps(metadata)})
        return path.name

    return make


@pytest.fixture(scope="session")
def open_version(pack, host, version_file):
    """`open_version(name)`: the MODEL of the golden of that name, as LoadCheckpoint gives it."""
    opened = {}

    def load(name: str):
        if name not in opened:
            with torch.inference_mode():
                cls = host.NODE_CLASS_MAPPINGS["ColorizeDiffusion_LoadCheckpoint"]
                opened[name] = cls.execute(version_file(name), "eps").result[0]
        return opened[name]

    return load


@pytest.fixture(params=FILES)
def version(request) -> str:
    return request.param


@pytest.fixture
def model(version, open_version):
    return open_version(FILES[version])


@pytest.fixture
def width(read_golden):
    """`width(version)`: of a token."""
    return lambda version: read_golden(FILES[version]).config["ctx"]


@pytest.fixture
def figured(pack, width):
    """`figured(version, size, batch=1, **options)`: random tokens with a figure that is the left half of the picture,
    whose latent has that size."""
    core = pack.colorize_core

    def make(version, size, batch=1, **options):
        local, background = (rand(batch, 16, width(version), seed=seed) for seed in (0, 1))
        mask = torch.zeros(batch, 8 * size, 8 * size)
        mask[:, :, : 4 * size] = 1
        figure = core.figure.Figure(
            **OPTIONS | options,
            sketch_mask=mask,
            background_cls=background[:, :1],
            background_local=background,
            reference_latent=rand(batch, 4, size, size, seed=2),
            reference_size=(64, 64),
            background_latent=rand(batch, 4, size, size, seed=3),
            background_size=(64, 64),
        )
        return core.tokens.ReferenceTokens(cls=local[:, :1], local=local, figure=figure)

    return make


@pytest.fixture
def tokens_of(pack):
    """`tokens_of(local)`: reference tokens of which only the local ones [1,N,D] matter."""
    return lambda local: pack.colorize_core.tokens.ReferenceTokens(cls=local[:, :1], local=local)


@pytest.fixture
def figure_tokens(pack, tokens_of):
    """`figure_tokens(golden, **fields)`: a base golden's tokens and masks with a figure of these fields."""

    def make(golden, **fields):
        background = golden["background_tokens"]
        figure = pack.colorize_core.figure.Figure(
            **{"background_enhance": False} | fields,
            sketch_mask=canvas_mask(golden["mask"]),
            background_cls=background[:, :1],
            background_local=background,
        )
        return dataclasses.replace(tokens_of(golden["context"]), figure=figure)

    return make


@pytest.fixture
def conditionings(pack, node):
    """`conditionings(golden, tokens)`: positive, no_reference, no_sketch with the golden's sketch."""

    def make(golden, tokens):
        pixels = golden["sketch"]
        pixels = pixels.float() / 127.5 - 1 if pixels.dtype == torch.uint8 else pixels
        return node("Conditioning").execute(tokens, pack.colorize_core.sketch.Sketch(pixels)).result

    return make


@pytest.fixture
def predict(host, core_node):
    """`predict(model, conditioning, golden)`: what the model, loaded as an eps one, gives for the golden's `x`."""

    def run(model, conditioning, golden):
        sigmas = model.get_model_object("model_sampling").sigma(golden["t"])
        guider = core_node("BasicGuider")(model=model, conditioning=conditioning)[0]
        return raw_eps(guider, golden["x"], sigmas)

    return run


@pytest.fixture
def with_figure(pack, node, tokens_of, monkeypatch):
    """`with_figure(golden, picture=False, **options)`: the tokens that Figure and Background makes of an extra golden.

    CLIP, which the golden does not have, gives the golden's tokens for the very pictures that it should be given.
    """

    def make(golden, picture=False, **options):
        reference, mask = image_of(golden["reference"]), mask_of(golden["reference_mask"])
        options = OPTIONS | options

        def encode(clip_vision, image):
            if picture:
                assert torch.equal(image, image_of(golden["background"]))
                return tokens_of(golden["tokens.background_picture"])
            kept = (mask < options["reference_threshold"])[..., None]
            assert torch.equal(image, torch.where(kept, reference, torch.ones(())))
            return tokens_of(golden["tokens.reference_without_foreground"])

        monkeypatch.setattr(pack.colorize_core.host.figure_inputs, "encode_reference", encode)
        height, width = golden.config["hw"]
        inputs = {
            "sketch_mask": mask_of(golden["mask_picture"]),
            "reference_mask": None if picture else mask,
            "background": image_of(golden["background"]) if picture else None,
            "vae": StandInVAE(),
            "latent": {"samples": torch.zeros(1, 4, height // 8, width // 8)},
        }
        tokens = tokens_of(golden["context"])
        unused = SimpleNamespace(model_type="clip_vision_model")
        return node("FigureAndBackground").execute(tokens, unused, reference, **options, **inputs).result[0]

    return make


@pytest.fixture
def check_extra(open_version, node, with_figure, conditionings, predict, assert_golden):
    """`check_extra(golden, name, options)`: all rows of an extra golden's output are what the published model gave."""

    def check(golden, name, options):
        options = dict(options)
        model = open_version(golden.name)
        if "strength" in options:
            model = node("ReferenceStrength").execute(model, options.pop("strength")).result[0]
        tokens = with_figure(golden, **options)
        rows = zip(("", ".no_reference", ".no_sketch"), conditionings(golden, tokens), strict=True)
        for row, conditioning in rows:
            if name + row in golden.tensors:
                actual = predict(model, conditioning, golden)
                assert_golden(actual, golden[name + row], golden.tolerance(name + row))

    return check

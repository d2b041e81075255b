"""The real ComfyUI in this process, on the CPU, with the pack loaded by its own loader."""

import asyncio
import importlib
import importlib.abc
import os
import shutil
import sys
import uuid
from dataclasses import dataclass, field, replace
from importlib.util import spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
import torch

ROOT = Path(__file__).parents[2]
COMFYUI = Path(os.environ.get("COMFYUI_PATH", ROOT / ".comfyui")).resolve()
BESIDE_THE_PACK: dict[str, ModuleType] = {}  # what `load_module` has loaded, by name
MODEL_FOLDERS = ("checkpoints", "clip_vision", "text_encoders", "loras", "controlnet", "vae")


@pytest.fixture(scope="session")
def host(tmp_path_factory) -> ModuleType:
    """ComfyUI's `nodes` module: core nodes and the pack's are in its NODE_CLASS_MAPPINGS.

    Models, input and output live in a temporary folder; everything computes in float32.
    """
    base = tmp_path_factory.mktemp("comfyui")
    for folder in ("input", "output", "temp", "user", "custom_nodes"):
        (base / folder).mkdir()
    for folder in MODEL_FOLDERS:
        (base / "models" / folder).mkdir(parents=True)

    sys.path.insert(0, str(COMFYUI))  # before the repository root: both have a `nodes`
    from comfy.cli_args import args

    args.cpu = True
    args.base_directory = str(base)
    args.database_url = "sqlite:///:memory:"
    args.fp32_text_enc = True  # text encoders are half precision otherwise, on a CPU too
    args.use_pytorch_cross_attention = True

    import nodes

    asyncio.run(nodes.init_extra_nodes(init_custom_nodes=False, init_api_nodes=False))
    nodes.NODE_CLASS_MAPPINGS["Capture"] = Capture
    return nodes


@pytest.fixture(scope="session")
def pack(host) -> ModuleType:
    """The pack as ComfyUI loaded it; its modules are attributes: `pack.colorize_core.guidance`.

    Never `import colorize_core` beside it: that is a second copy, which would register its classes again. What imports
    it so (demo/, ablation/) is loaded by `load_module`.
    """
    if not asyncio.run(host.load_custom_node(str(ROOT))):
        raise RuntimeError("ComfyUI could not load the pack; its log says why")
    return sys.modules[str(ROOT).replace(".", "_x_")]


class PackFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds `colorize_core` and all in it among the modules of the loaded pack: a second name, no second copy."""

    def __init__(self, pack: ModuleType):
        self.pack = pack

    def find_spec(self, name, path=None, target=None):
        return spec_from_loader(name, self) if name.split(".")[0] == "colorize_core" else None

    def create_module(self, spec):
        module = importlib.import_module(f"{self.pack.__name__}.{spec.name}")
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module):
        module.__spec__ = module.__spec__.loader_state  # it stays the pack's


@pytest.fixture
def load_module(pack):
    """`load_module("demo.data")` imports a module of demo/ or ablation/, whose `colorize_core` is that of the pack.

    Copies that other tests have imported without the host are put aside meanwhile.
    """
    packages = ("colorize_core", "demo", "ablation")
    others = {name: module for name, module in sys.modules.items() if name.split(".")[0] in packages}
    for name in others:
        del sys.modules[name]
    sys.modules.update(BESIDE_THE_PACK)
    finder = PackFinder(pack)
    sys.meta_path.insert(0, finder)
    yield importlib.import_module
    sys.meta_path.remove(finder)
    for name in [name for name in sys.modules if name.split(".")[0] in packages]:
        BESIDE_THE_PACK[name] = sys.modules.pop(name)
    sys.modules.update(others)


@pytest.fixture
def small_config(pack):
    """`small_config(blocks, downscales)`: that of a version whose hints go there, for a UNet built by hand."""

    def build(blocks, downscales):
        core = pack.colorize_core
        hints = core.checkpoint.config.HintLayout(blocks, downscales)
        config = core.versions.v1.v1_config(model_channels=32)
        return replace(config, version=replace(config.version, hints=hints))

    return build


@pytest.fixture
def node(pack, host):
    """`node("LoadCheckpoint")` is the class registered as ColorizeDiffusion_LoadCheckpoint."""
    return lambda name: host.NODE_CLASS_MAPPINGS[f"ColorizeDiffusion_{name}"]


@pytest.fixture
def core_node(host):
    """`core_node("KSampler")(seed=0, ...)` runs one of ComfyUI's own nodes, old style or new, and gives its outputs."""

    def run(name: str):
        cls = host.NODE_CLASS_MAPPINGS[name]
        if hasattr(cls, "GET_SCHEMA"):
            return lambda **inputs: cls.execute(**inputs).result
        return lambda **inputs: getattr(cls(), cls.FUNCTION)(**inputs)

    return run


@pytest.fixture(autouse=True)
def _inference_mode():
    """As ComfyUI runs its nodes."""
    with torch.inference_mode():
        yield


@pytest.fixture(scope="session")
def models_dir(host) -> Path:
    """ComfyUI's models folder: what a test puts into a sub-folder can be loaded by its name."""
    import folder_paths

    return Path(folder_paths.models_dir)


@pytest.fixture(scope="session")
def input_dir(host) -> Path:
    """Where LoadImage looks."""
    import folder_paths

    return Path(folder_paths.get_input_directory())


@pytest.fixture(scope="session")
def tiny_checkpoint(models_dir, golden_checkpoint) -> str:
    """Name of the small golden model in models/checkpoints."""
    shutil.copy(golden_checkpoint, models_dir / "checkpoints")
    return golden_checkpoint.name


@pytest.fixture(scope="session")
def tiny_clip(models_dir, golden_clip) -> str:
    """Name of the small golden CLIP in models/clip_vision."""
    shutil.copy(golden_clip, models_dir / "clip_vision")
    return golden_clip.name


@pytest.fixture(scope="module")
def model(pack, host, tiny_checkpoint):
    """The small golden model as LoadCheckpoint gives it."""
    with torch.inference_mode():
        return host.NODE_CLASS_MAPPINGS["ColorizeDiffusion_LoadCheckpoint"].execute(tiny_checkpoint).result[0]


class Capture:
    """An output node that keeps the value it is given, for the test to look at."""

    INPUT_TYPES = classmethod(lambda cls: {"required": {"value": ("*", {})}, "hidden": {"id": "UNIQUE_ID"}})
    RETURN_TYPES = ()
    FUNCTION = "capture"
    OUTPUT_NODE = True
    CATEGORY = "tests"
    values: ClassVar[dict[str, Any]] = {}

    def capture(self, value, id):
        self.values[id] = value
        return {}


@dataclass
class Run:
    """What came of a prompt."""

    success: bool
    error: str = ""  # what the user is shown: validation errors, or the exception's message
    outputs: dict[str, Any] = field(default_factory=dict)  # node id -> what it shows in the UI
    captured: dict[str, Any] = field(default_factory=dict)  # id of a Capture node -> its value
    ran: list[str] = field(default_factory=list)  # node ids executed, in order; cached ones are not in it
    messages: list[tuple[str, dict]] = field(default_factory=list, repr=False)  # (event, data) as sent to the browser


class _Browser:
    """The part of ComfyUI's server that its executor talks to."""

    def __init__(self):
        self.client_id = self.last_node_id = self.last_prompt_id = None
        self.sockets_metadata = {}
        self.messages = []

    def send_sync(self, event, data, sid=None):
        self.messages.append((event, data))


@pytest.fixture
def run_prompt(pack, host):
    """`run_prompt(prompt)` validates and executes an API-format prompt as ComfyUI does; gives a `Run`.

    A node {"class_type": "Capture", "inputs": {"value": [id, output]}} makes any value visible to the test.
    Within one test the cache is kept from prompt to prompt.
    """
    import execution

    browser = _Browser()
    cache = {"lru": 0, "ram": 0, "ram_inactive": 0}
    executor = execution.PromptExecutor(browser, cache_type=execution.CacheType.CLASSIC, cache_args=cache)
    Capture.values.clear()

    def run(prompt: dict[str, dict]) -> Run:
        prompt_id = str(uuid.uuid4())
        valid, error, output_ids, node_errors = asyncio.run(execution.validate_prompt(prompt_id, prompt, None))
        if not valid:
            return Run(success=False, error=f"{error['message']}: {error['details']} {node_errors}")

        browser.messages.clear()
        executor.execute(prompt, prompt_id, {"client_id": "test"}, output_ids)
        messages = list(browser.messages)
        errors = [data["exception_message"] for event, data in messages if event == "execution_error"]
        return Run(
            success=executor.success,
            error="".join(errors),
            outputs=executor.history_result["outputs"],
            captured=dict(Capture.values),
            ran=[data["node"] for event, data in messages if event == "executing" and data["node"]],
            messages=messages,
        )

    return run

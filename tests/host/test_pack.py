import inspect
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest


@pytest.fixture(scope="module")
def pack_nodes(pack, host):
    return {name: cls for name, cls in host.NODE_CLASS_MAPPINGS.items() if name.startswith("ColorizeDiffusion_")}


def test_comfyui_loads_the_pack(pack):
    assert pack.WEB_DIRECTORY == "./web"


LISTS_OF_THE_HOST = ("ckpt_name", "clip_name", "sampler_name", "scheduler")
PROPERTIES = ("default", "min", "max", "step", "options", "optional", "advanced")


def contract(schema) -> dict:
    """What saved workflows rely on: names, order, types, defaults and ranges."""
    inputs = []
    for socket in schema.inputs:
        values = {name: getattr(socket, name, None) for name in PROPERTIES}
        if socket.id in LISTS_OF_THE_HOST:
            del values["options"]
        said = {name: value for name, value in values.items() if value is not None}
        inputs.append({"id": socket.id, "type": socket.get_io_type()} | said)
    outputs = [{"id": socket.id, "type": socket.get_io_type()} for socket in schema.outputs]
    return {"display_name": schema.display_name, "inputs": inputs, "outputs": outputs}


def test_nodes_keep_what_saved_workflows_rely_on(pack_nodes):
    """A node that is no experiment, or an input at the end of one, goes into schema.json; what is there stays."""
    frozen = json.loads((Path(__file__).parent / "schema.json").read_text())
    schemas = {name: cls.GET_SCHEMA() for name, cls in pack_nodes.items()}
    assert {name: contract(schema) for name, schema in schemas.items() if not schema.is_experimental} == frozen


def test_every_node_says_what_it_does(pack_nodes):
    for name, cls in pack_nodes.items():
        schema = cls.GET_SCHEMA()
        assert schema.node_id == name and schema.category == "ColorizeDiffusion"
        assert schema.display_name and schema.description
        for socket in [*schema.inputs, *schema.outputs]:
            assert socket.tooltip, f"{name}: {socket.id} has no tooltip"


def test_every_input_is_a_parameter_of_execute(pack_nodes):
    for name, cls in pack_nodes.items():
        inputs = {socket.id: socket for socket in cls.GET_SCHEMA().inputs}
        parameters = inspect.signature(cls.execute).parameters
        assert set(inputs) == set(parameters), name
        for key, socket in inputs.items():
            has_default = parameters[key].default is not inspect.Parameter.empty
            assert has_default or not socket.optional, f"{name}: {key} may be left out and needs a default"


def test_every_node_has_a_help_page_that_names_its_inputs(pack, pack_nodes):
    pages = {page.stem: page.read_text() for page in (Path(pack.__file__).parent / "web" / "docs").glob("*.md")}
    assert set(pages) == set(pack_nodes)
    for name, text in pages.items():
        schema = pack_nodes[name].GET_SCHEMA()
        assert text.startswith(f"# {schema.display_name}\n"), name
        for socket in schema.inputs:
            assert f"`{socket.id}`" in text or socket.id.startswith("threshold_"), f"{name}: {socket.id}"


def test_comfyui_reads_the_packs_metadata(pack):
    from comfy_config.config_parser import extract_node_configuration

    config = extract_node_configuration(str(Path(pack.__file__).parent))
    assert config.project.name == "colorize-diffusion"
    assert config.tool_comfy.display_name == "ColorizeDiffusion"
    assert config.project.supported_comfyui_version == ">=0.30.0"
    assert len(config.project.supported_accelerators) == 3
    assert len(config.tool_comfy.models) == 5


@pytest.mark.parametrize(("key", "shape"), [("Icon", (1, 1)), ("Banner", (21, 9))])
def test_the_registrys_pictures_are_there_in_its_shapes(pack, key, shape):
    folder = Path(pack.__file__).parent
    name = f"docs/pictures/{key.lower()}.svg"
    assert re.search(f'^{key} = "https://.+/{name}"', (folder / "pyproject.toml").read_text(), re.MULTILINE)
    picture = ElementTree.parse(folder / name).getroot()
    assert float(picture.get("width")) * shape[1] == float(picture.get("height")) * shape[0]


def test_requirements_are_what_the_metadata_says(pack):
    from comfy_config.config_parser import extract_node_configuration

    folder = Path(pack.__file__).parent
    listed = (folder / "requirements.txt").read_text().split()
    assert extract_node_configuration(str(folder)).project.dependencies == listed

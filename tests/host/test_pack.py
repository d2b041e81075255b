import inspect
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def pack_nodes(pack, host):
    return {name: cls for name, cls in host.NODE_CLASS_MAPPINGS.items() if name.startswith("ColorizeDiffusion_")}


def test_comfyui_loads_the_pack(pack):
    assert pack.WEB_DIRECTORY == "./web"


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
    assert len(config.tool_comfy.models) == 3


def test_requirements_are_what_the_metadata_says(pack):
    from comfy_config.config_parser import extract_node_configuration

    folder = Path(pack.__file__).parent
    listed = (folder / "requirements.txt").read_text().split()
    assert extract_node_configuration(str(folder)).project.dependencies == listed

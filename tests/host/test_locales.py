"""Every translation says all that the schemas say, and nothing else."""

import json
from pathlib import Path

import pytest

from gallery.locales import taiwan_files, traditional_chinese

LOCALES = Path(__file__).parents[2] / "locales"
LANGUAGES = sorted(folder.name for folder in LOCALES.iterdir())


@pytest.fixture(params=LANGUAGES)
def translated(request):
    return json.loads((LOCALES / request.param / "nodeDefs.json").read_text(encoding="utf-8"))


@pytest.fixture
def schemas(pack, host):
    names = [name for name in host.NODE_CLASS_MAPPINGS if name.startswith("ColorizeDiffusion_")]
    return {name: host.NODE_CLASS_MAPPINGS[name].GET_SCHEMA() for name in names}


def test_there_are_translations():
    assert LANGUAGES == ["ja", "zh", "zh-TW"]


def test_every_node_input_and_output_is_translated_and_none_is_left_over(translated, schemas):
    assert set(translated) == set(schemas)
    for name, schema in schemas.items():
        assert translated[name]["display_name"] and translated[name]["description"]
        assert set(translated[name]["inputs"]) == {socket.id for socket in schema.inputs}, name
        outputs = translated[name].get("outputs", {})
        assert set(outputs) == {str(index) for index in range(len(schema.outputs))}, name
        for socket in [*translated[name]["inputs"].values(), *outputs.values()]:
            assert socket["name"] and socket["tooltip"], name


def test_names_and_descriptions_hold_nothing_that_the_web_ui_would_read_as_code(translated):
    for node in translated.values():
        sockets = [*node["inputs"].values(), *node.get("outputs", {}).values()]
        for text in [node["display_name"], node["description"], *(socket["name"] for socket in sockets)]:
            assert not set(text) & set("@{}|%"), text


@pytest.mark.parametrize("language", LANGUAGES)
def test_category_and_socket_types_are_translated(language, schemas):
    main = json.loads((LOCALES / language / "main.json").read_text(encoding="utf-8"))
    sockets = [socket for schema in schemas.values() for socket in [*schema.inputs, *schema.outputs]]
    own = {socket.get_io_type() for socket in sockets if socket.get_io_type().startswith("COLORIZE_")}
    assert set(main["dataTypes"]) == own and all(main["dataTypes"].values())
    assert main["nodeCategories"]["ColorizeDiffusion"] and main["templateWorkflows"]["category"]["colorize-diffusion"]


def test_taiwans_chinese_is_made_of_the_simplified_in_taiwans_words():
    made = taiwan_files()
    assert len(made) > len(list((LOCALES / "zh").glob("*.json")))
    assert [path for path, text in made.items() if path.read_text(encoding="utf-8") != text] == []
    assert traditional_chinese("文字节点连接“加载图像”的预测类型") == "文字節點連接「載入圖片」的預測類型"

"""What ARCHITECTURE.md draws: which way the arrows point, that a version is one room, and how large anything may be."""

import ast
import re
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GOLDENS = ROOT / "tests" / "golden"
PACK = ("nodes", "colorize_core")
MEASURED = ("nodes", "colorize_core", "demo", "ablation", "benchmarks", "gallery", "colorize_batch")  # by lines
ABOVE = ("demo", "ablation", "benchmarks", "gallery", "colorize_batch", "tests")  # nothing of the pack imports these
ROOMS = (*MEASURED, "tests", "workflows", "subgraphs", "web", "locales")
FROM_HOST = {
    "comfy",
    "comfy_api",
    "comfy_extras",
    "comfy_execution",
    "execution",
    "folder_paths",
    "latent_preview",
    "server",
}
AT_START = {"torch", "numpy", "PIL.Image", "PIL.ImageDraw", "PIL.ImageFont", "safetensors", "scipy.ndimage"}
AT_START |= {"scipy.sparse", "scipy.spatial"}  # what ComfyUI has imported before any pack, so that it costs nothing
TRAINING = "colorize_core/training/"
VERSIONS, HOST_VERSIONS = "colorize_core/versions/", "colorize_core/host/versions/"
NO_VERSIONS = {"__init__", "stable_diffusion"}  # the loop; and what a v1 can be trained from
DRAWINGS = ("demo/figures.py", "demo/scenes.py", "demo/art/")

# Names that every module of a kind has: the doors of a feature, of a version, of a file of nodes, of a program; and
# the sockets, which are called what their values are, as the host's own.
DOORS = {
    "conds",
    "entries",
    "keywords",
    "options",
    "shapes",
    "FEATURE",
    "VERSION",
    "configure",
    "NODES",
    "logger",
    "main",
}
SOCKETS = "nodes/sockets.py"


def modules(*folders: str) -> list[str]:
    """Paths, from the root, of the Python files in these folders."""
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return sorted(str(path.relative_to(ROOT)) for path in found)


@cache
def tree(module: str) -> ast.Module:
    return ast.parse((ROOT / module).read_text())


@cache
def imports(module: str) -> frozenset[str]:
    """Dotted names of what a module imports, wherever in it, from the root or from outside; of `from a import b` both
    `a` and `a.b`."""
    found = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = Path(module).parts[: -node.level] if node.level else ()
            base = ".".join((*package, *filter(None, [node.module])))
            found |= {base} | {f"{base}.{alias.name}".lstrip(".") for alias in node.names}
    return frozenset(found)


def dotted(module: str) -> str:
    return module.removesuffix(".py").replace("/", ".")


def is_in(imported: str, *packages: str) -> bool:
    return any(imported == package or imported.startswith(f"{package}.") for package in packages)


def importers(*packages: str, among: list[str]) -> list[str]:
    """Those modules that import one of the packages or something in it."""
    return [module for module in among if any(is_in(name, *packages) for name in imports(module))]


# Arrows


def test_only_nodes_and_the_cores_host_import_comfyui():
    pure = [module for module in modules("colorize_core") if not module.startswith("colorize_core/host/")]
    assert pure and importers(*FROM_HOST, among=pure) == []
    assert importers(*FROM_HOST, among=modules("colorize_core/host"))  # the test sees one where it is


def test_the_pure_core_does_not_import_its_host():
    pure = [module for module in modules("colorize_core") if not module.startswith(("colorize_core/host/", TRAINING))]
    assert importers("colorize_core.host", among=pure) == []


def test_nothing_imports_the_nodes_but_the_pack_itself():
    """In a benchmark `nodes` is the host's module of that name, imported without the pack."""
    assert importers("nodes", among=modules("colorize_core", "demo", "ablation", "gallery", "colorize_batch")) == []
    assert importers("nodes", among=["__init__.py"]) == ["__init__.py"]


def test_nothing_below_imports_what_lies_above():
    below = [module for module in modules(*PACK) if not module.startswith(TRAINING)]
    assert importers("colorize_core.training", *ABOVE, among=below) == []
    assert importers(*ABOVE, among=modules(TRAINING)) == []


def imports_at_once(module: str) -> set[str]:
    """Dotted names of what a module imports from outside when it is itself imported."""
    found = set()
    for node in tree(module).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] not in sys.stdlib_module_names}


def test_a_library_that_comfyui_does_not_start_with_is_imported_where_it_is_used():
    pack = [module for module in modules(*PACK) if not module.startswith(TRAINING)]
    late = {
        (module, name) for module in pack for name in imports_at_once(module) if not is_in(name, *AT_START, *FROM_HOST)
    }
    assert late == set()


# Rooms


def is_of_versions(module: str) -> bool:
    return module.startswith((VERSIONS, HOST_VERSIONS))


def version_modules(folder: str) -> list[str]:
    return [module for module in modules(folder) if Path(module).stem not in NO_VERSIONS]


@pytest.mark.parametrize("folder", [VERSIONS, HOST_VERSIONS])
def test_a_versions_module_is_imported_by_the_loop_and_its_twin_alone(folder):
    rooms = version_modules(folder)
    assert len(rooms) > 1
    pack = [module for module in modules(*PACK) if not module.startswith(TRAINING)]
    others = [module for module in pack if not (is_of_versions(module) and Path(module).stem in NO_VERSIONS)]
    for room in rooms:
        twin = HOST_VERSIONS + Path(room).name
        assert set(importers(dotted(room), among=others)) <= {twin}, room
        assert importers(dotted(room), among=[f"{folder}__init__.py"]), room


def test_model_unet_and_conditioning_know_no_feature_by_name():
    """But for the attention that Reference Injection gives the UNet."""
    rooms = [module for module in modules("colorize_core/host") if "FEATURE" in public_names(module)]
    assert len(rooms) > 4
    for module in ("model", "unet", "conditions"):
        known = {name for name in imports(f"colorize_core/host/{module}.py") if is_in(name, *map(dotted, rooms))}
        assert known <= {"colorize_core.host.injection", "colorize_core.host.injection.BankSelfAttention"}, module


# Names and sizes


def public_names(module: str) -> list[str]:
    names = []
    for node in tree(module).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names += [target.id for target in targets if isinstance(target, ast.Name)]
    return [name for name in names if not name.startswith("_")]


def test_no_two_things_of_the_pack_share_a_public_name():
    where = defaultdict(set)
    for module in modules(*PACK):
        for name in public_names(module):
            if name not in DOORS and module != SOCKETS:
                where[name].add(module)
    assert {name: sorted(homes) for name, homes in where.items() if len(homes) > 1} == {}


def test_names_say_what_a_thing_is():
    vague = {"told", "lasting", "places", "about", "shown", "kept"}
    found = set()
    for module in modules(*PACK):
        for node in ast.walk(tree(module)):
            name = getattr(node, "id", None) or getattr(node, "arg", None) or getattr(node, "name", None)
            if name in vague or getattr(node, "attr", None) in vague:
                found.add((module, node.lineno))
    assert found == set()


def test_no_function_is_longer_than_60_lines_but_schemas_and_drawings():
    long = []
    for module in modules(*MEASURED):
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name != "define_schema":
                lines = node.end_lineno - node.lineno + 1
                if lines > 60 and not module.startswith(DRAWINGS):
                    long.append((module, node.name, lines))
    assert long == []


def test_no_module_is_longer_than_300_lines_but_drawings():
    counted = {module: len((ROOT / module).read_text().splitlines()) for module in modules(*MEASURED)}
    assert {module: n for module, n in counted.items() if n > 300 and not module.startswith(DRAWINGS)} == {}


def test_the_readme_of_the_goldens_names_the_files_that_are_there():
    described = set(re.findall(r"`(tiny\w*)`", (GOLDENS / "README.md").read_text()))
    assert described == {path.stem for path in GOLDENS.glob("*.safetensors")}


def test_the_page_of_the_architecture_names_files_that_are_there():
    page = (ROOT / "ARCHITECTURE.md").read_text()
    named = set(re.findall(r"`([\w/]+(?:\.(?:py|json|md)|/))`", page))
    files = [str(path.relative_to(ROOT)) for folder in ROOMS for path in (ROOT / folder).rglob("*")]
    files += [f"{file}/" for file in files] + [path.name for path in ROOT.iterdir()] + [f"{room}/" for room in ROOMS]
    known = "\n".join(f"/{file}" for file in files) + "\n"
    assert len(named) > 30
    assert {name for name in named if "NAME" not in name and f"/{name}\n" not in known} == set()

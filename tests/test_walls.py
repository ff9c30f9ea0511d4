"""The walls between the packages: who imports whom, read from the source."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "convlens"
MODULES = {path.relative_to(SOURCE).as_posix(): ast.parse(path.read_text()) for path in sorted(SOURCE.rglob("*.py"))}
# Each package imports those above it in this list, never its neighbours on the same line.
LEVELS = [
    ["errors"],
    ["io"],
    ["nets", "metrics", "stats", "figures"],
    ["ops"],
    ["deconv"],
    ["analysis", "transfer"],
    ["systems", "callbacks", "loggers"],
    ["runs"],
    ["report"],
    ["tasks"],
    ["cli"],
]
LEVEL = {package: number for number, level in enumerate(LEVELS) for package in level}
# `data` stands beside them: it imports the first two levels, and is imported from `runs` on.
DATA_IMPORTS, DATA_IMPORTED_FROM = {"errors", "io"}, LEVEL["runs"]
# The packages of others that may be imported, beside Python's own and jaxtyping.
LIBRARIES: dict[str, set[str]] = {
    "errors": set(),
    "io": {"filelock", "numpy"},
    "nets": {"torch", "safetensors", "numpy"},
    "metrics": {"torch", "torchmetrics", "numpy"},
    "stats": {"numpy", "torch", "scipy"},
    "figures": {"numpy", "matplotlib", "PIL"},
    "ops": {"torch", "numpy"},
    "deconv": {"torch", "numpy"},
    "analysis": {"scipy", "torch", "torchmetrics", "numpy", "tqdm", "PIL"},
    "transfer": {"torch", "numpy", "scipy", "tqdm"},
    "data": {"torch", "torchvision", "numpy", "PIL", "lightning", "filelock", "tqdm", "litdata", "boto3", "botocore"},
    "systems": {"lightning", "torch", "torchmetrics", "numpy"},
    "loggers": {"lightning", "wandb", "PIL"},
    "callbacks": {"lightning", "torch", "numpy", "PIL", "tqdm"},
    "runs": {"hydra", "omegaconf", "lightning", "torch", "torchvision", "numpy", "yaml"},
    "report": {"numpy", "matplotlib", "PIL", "jinja2", "yaml"},
    "tasks": {"hydra", "omegaconf", "torch", "numpy", "tqdm", "PIL"},
    "cli": {"hydra", "omegaconf"},
}


def imports(tree: ast.AST) -> Iterator[tuple[str, str | None]]:
    """Every module imported, anywhere in the file, with the name taken from it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, None
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                yield node.module or "", alias.name


def package(path: str) -> str:
    return path.split("/")[0].removesuffix(".py")


def own_packages(tree: ast.AST) -> set[str]:
    """The packages of ours that a module imports."""
    parts = [[*module.split("."), name or ""] for module, name in imports(tree)]
    return {part[1] for part in parts if part[0] == "convlens" and part[1]}


def libraries(tree: ast.AST) -> set[str]:
    """The packages of others that a module imports."""
    return {module.split(".")[0] for module, _ in imports(tree)} - {"convlens", "jaxtyping", *sys.stdlib_module_names}


def may_import(importer: str, imported: str) -> bool:
    if importer == imported:
        return True
    if importer == "data":
        return imported in DATA_IMPORTS
    if imported == "data":
        return LEVEL[importer] >= DATA_IMPORTED_FROM
    return LEVEL[imported] < LEVEL[importer]


WALLED = [path for path in MODULES if package(path) != "__init__"]


def test_every_package_has_its_wall():
    assert {package(path) for path in WALLED} == {*LEVEL, "data"} == set(LIBRARIES)


@pytest.mark.parametrize("path", WALLED)
def test_a_package_imports_only_what_it_may(path):
    own, others = own_packages(MODULES[path]), libraries(MODULES[path])
    assert {name for name in own if not may_import(package(path), name)} == set()
    assert others - LIBRARIES[package(path)] == set()


def test_a_task_imports_no_other_task():
    tasks = {path for path in MODULES if package(path) == "tasks"}
    assert {path for path in tasks if "tasks" in own_packages(MODULES[path])} == set()


def users_of(*packages: str) -> set[str]:
    return {path for path, tree in MODULES.items() if libraries(tree) & set(packages)}


def test_lightning_is_used_in_data_for_the_data_modules_only():
    in_data = {path for path in users_of("lightning") if package(path) == "data"}
    assert in_data == {"data/datamodule.py", "data/shards/datamodule.py"}


def test_wandb_is_imported_by_its_logger_only():
    assert users_of("wandb") <= {"loggers/epoch_wandb.py"}


def test_systems_use_a_network_by_its_interface_only():
    taken = {
        (module, name)
        for path, tree in MODULES.items()
        if package(path) == "systems"
        for module, name in imports(tree)
        if module.startswith("convlens.nets")
    }
    # A step of training that works on any network's convolutions; no network and no table.
    assert taken <= {("convlens.nets", "renormalize_filters")}


def test_no_private_name_of_another_module_is_imported():
    found = [
        (path, module, name)
        for path, tree in MODULES.items()
        for module, name in imports(tree)
        if module.startswith(("convlens", "hydra", "lightning", "torch"))
        and any(part.startswith("_") and not part.startswith("__") for part in [*module.split("."), name or ""])
    ]
    assert found == []


def module_imports() -> dict[str, set[str]]:
    """For each module of ours those that it imports while it is itself imported."""
    names = {
        path: ".".join(["convlens", *path.removesuffix(".py").removesuffix("/__init__").split("/")]) for path in MODULES
    }
    names["__init__.py"] = "convlens"
    known = set(names.values())
    graph: dict[str, set[str]] = {}
    for path, tree in MODULES.items():
        found: set[str] = set()
        for node in tree.body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                for module, name in imports(ast.Module([node], [])):
                    full = f"{module}.{name}"
                    if module.startswith("convlens"):
                        found.add(full if full in known else module)
        graph[names[path]] = found - {names[path]}
    return graph


def test_imports_form_no_circle():
    graph, done = module_imports(), set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for imported in sorted(graph.get(module, ())):
                visit(imported, (*path, module))
            done.add(module)

    for module in sorted(graph):
        visit(module, ())


def test_folders_inside_of_packages_import_nothing():
    inner = [path for path in MODULES if path.count("/") == 2 and path.endswith("__init__.py")]
    public = {"data/sources/__init__.py"}  # the classes that configurations name
    assert [path for path in inner if path not in public and list(imports(MODULES[path]))] == []


def test_annotations_are_left_as_objects_for_the_shape_checks():
    assert [path for path, tree in MODULES.items() if ("__future__", "annotations") in set(imports(tree))] == []


def test_the_library_does_not_print():
    printing = {
        path
        for path, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert {path for path in printing if package(path) != "cli"} == set()


@pytest.mark.parametrize("path", MODULES)
def test_a_module_says_what_it_is_and_is_not_long(path):
    if MODULES[path].body:
        assert ast.get_docstring(MODULES[path])
    assert len((SOURCE / path).read_text().splitlines()) <= 260


@pytest.mark.parametrize("path", MODULES)
def test_functions_are_short(path):
    functions = [n for n in ast.walk(MODULES[path]) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert [f.name for f in functions if (f.end_lineno or 0) - f.lineno + 1 > 60] == []


def test_nothing_is_a_drawer_for_the_rest():
    names = {part.removesuffix(".py") for path in MODULES for part in path.split("/")}
    assert names & {"utils", "util", "helpers", "helper", "misc", "common"} == set()


def test_any_is_rare():
    uses = sum(isinstance(node, ast.Name) and node.id == "Any" for tree in MODULES.values() for node in ast.walk(tree))
    assert uses <= 160

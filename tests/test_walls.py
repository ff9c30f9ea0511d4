"""The walls between the packages: who imports whom, read from the source."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "convlens"
MODULES = {path.relative_to(SOURCE).as_posix(): ast.parse(path.read_text()) for path in sorted(SOURCE.rglob("*.py"))}
# Modules that import nothing of ours but each other, and may be imported by all.
LEAVES = {"convlens.errors", "convlens.io.atomic"}
# Of what is not Python's own: the packages of ours and of others that each package may import, beside itself.
MAY_IMPORT: dict[str, set[str]] = {
    "nets": {"torch", "safetensors"},
    "metrics": {"torch", "torchmetrics"},
    "deconv": {"convlens.nets", "torch", "torchmetrics", "tqdm"},
    "data": {"torch", "torchvision", "numpy", "PIL", "lightning", "filelock", "tqdm", "litdata", "boto3", "botocore"},
    "analysis": {"convlens.nets", "convlens.deconv", "convlens.metrics", "torch", "torchmetrics", "numpy", "tqdm"},
    "transfer": {"convlens.nets", "convlens.deconv", "convlens.metrics", "torch", "numpy", "sklearn", "tqdm"},
    "figures": {"numpy", "matplotlib", "PIL"},
    "report": {"convlens.figures", "numpy", "matplotlib", "PIL", "jinja2", "yaml"},
    "systems": {"convlens.metrics", "convlens.nets", "lightning", "torch", "numpy"},
    "loggers": {"lightning", "wandb", "PIL"},
    "callbacks": {
        *("convlens.deconv", "convlens.analysis", "convlens.figures"),
        *("lightning", "torch", "numpy", "PIL", "tqdm"),
    },
}
ANYTHING = {"tasks", "runs.py", "run_records.py", "__init__.py"}
TYPES = {"jaxtyping"}


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


def origin(module: str, name: str | None) -> str:
    """`convlens.<package>` for ours, the top package for others'."""
    parts = module.split(".")
    if parts[0] != "convlens":
        return parts[0]
    return ".".join([*parts, name or ""][:2]).rstrip(".")


def package(path: str) -> str:
    return path.split("/")[0]


def test_every_package_has_its_wall():
    packages = {package(path) for path in MODULES}
    assert packages - set(MAY_IMPORT) - ANYTHING == {"errors.py", "files.py"}


@pytest.mark.parametrize("path", [path for path in MODULES if package(path) in MAY_IMPORT])
def test_a_package_imports_only_what_it_may(path):
    allowed = MAY_IMPORT[package(path)] | LEAVES | TYPES | {f"convlens.{package(path)}"} | set(sys.stdlib_module_names)
    assert {origin(*found) for found in imports(MODULES[path])} - allowed == set()


@pytest.mark.parametrize("path", ["errors.py", "files.py"])
def test_leaf_modules_import_python_and_each_other_only(path):
    assert {origin(*found) for found in imports(MODULES[path])} - set(sys.stdlib_module_names) <= {*LEAVES, "filelock"}


def users_of(*packages: str) -> set[str]:
    return {path for path, tree in MODULES.items() if {origin(*found) for found in imports(tree)} & set(packages)}


def test_lightning_is_used_in_data_for_the_data_modules_only():
    assert {path for path in users_of("lightning") if package(path) == "data"} == {"data/module.py", "data/shards.py"}


def test_systems_know_a_network_by_its_interface_only():
    taken = {
        (module, name)
        for path, tree in MODULES.items()
        if package(path) == "systems"
        for module, name in imports(tree)
        if module.startswith("convlens.nets")
    }
    # A step of training that works on any network's convolutions; no network and no table.
    assert taken <= {("convlens.nets", "renormalize_filters")}


def test_hydra_is_used_in_tasks_and_runs_only():
    assert {package(path) for path in users_of("hydra", "omegaconf")} <= {"tasks", "runs.py", "run_records.py"}


def test_wandb_is_known_to_its_logger_only():
    assert users_of("wandb") <= {"loggers/epoch_wandb.py"}


def test_nobody_imports_the_private_names_of_another_package():
    found = [
        (path, module, name)
        for path, tree in MODULES.items()
        for module, name in imports(tree)
        if module.startswith("convlens")
        and any(part.startswith("_") and not part.startswith("__") for part in [*module.split("."), name or ""])
        and origin(module, name) != f"convlens.{package(path)}"
    ]
    assert found == []


def test_annotations_are_left_as_objects_for_the_shape_checks():
    assert [path for path, tree in MODULES.items() if ("__future__", "annotations") in set(imports(tree))] == []


def test_the_library_does_not_print():
    printing = {
        path
        for path, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert {path for path in printing if package(path) != "tasks"} == set()


@pytest.mark.parametrize("path", MODULES)
def test_a_module_says_what_it_is_and_is_not_long(path):
    if MODULES[path].body:
        assert ast.get_docstring(MODULES[path])
    assert len((SOURCE / path).read_text().splitlines()) <= 250


def test_nothing_is_a_drawer_for_the_rest():
    names = {part.removesuffix(".py") for path in MODULES for part in path.split("/")}
    assert names & {"utils", "util", "helpers", "helper", "misc", "common"} == set()


def test_importing_the_package_loads_nothing_heavy():
    heavy = "torch", "lightning", "hydra", "matplotlib", "numpy"
    code = f"import sys, convlens; print(*[name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


def test_the_verbs_are_found_at_the_top():
    import convlens

    for name in convlens.__all__:
        assert getattr(convlens, name) is not None
    assert set(convlens.__all__) < set(dir(convlens))
    with pytest.raises(AttributeError, match="convlens has no 'projekt': it offers"):
        _ = convlens.projekt

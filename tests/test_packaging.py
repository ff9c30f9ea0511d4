"""The files around the package: metadata, constraints, documents, workflows."""

import ast
import re
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from convlens.runs.renames import OLD_KEYS, OLD_OPTIONS
from tests.constraints import installed_dependencies

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DOCUMENTS = [
    *("README.md", "CHANGELOG.md", ".github/CONTRIBUTING.md", "conf/experiment/README.md", "tests/bench/README.md"),
    *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "src").rglob("README.md"))),
]


def constraints() -> dict[str, Version]:
    lines = (ROOT / ".github" / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(pair) == 2 for pair in pairs)
    return {name: Version(version) for name, version in pairs}


@pytest.mark.parametrize("text", PROJECT["dependencies"])
def test_each_dependency_has_a_constraint_in_its_range(text):
    needed = Requirement(text)
    assert constraints()[canonicalize_name(needed.name)] in needed.specifier


def test_the_constraints_hold_all_that_is_installed_of_the_core():
    needed = installed_dependencies("convlens", set()).keys()
    # CUDA's packages come with some builds of torch and not with others
    assert {name for name in needed if not name.startswith(("nvidia-", "cuda-", "triton"))} <= constraints().keys()


def test_what_quick_tests_do_not_need_is_in_the_larger_extra_only():
    extras = PROJECT["optional-dependencies"]

    def names(extra: str) -> set[str]:
        found = set()
        for text in extras[extra]:
            needed = Requirement(text)
            inner = [names(other) for other in needed.extras] if needed.name == "convlens" else [{needed.name}]
            found |= set().union(*inner)
        return found

    heavy = {"hydra-ray-launcher", "hydra-submitit-launcher", "hydra-optuna-sweeper", "moto"}
    assert not heavy & names("dev")
    assert heavy | names("dev") <= names("dev-all")
    core = {Requirement(text).name for text in PROJECT["dependencies"]}
    assert not core & (heavy | {"pyarrow", "scikit-learn", "litdata"})


def test_version_and_licence_are_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (str(citation["version"]), citation["license"]) == (PROJECT["version"], PROJECT["license"])
    assert citation["repository-code"] == PROJECT["urls"]["Source"]
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(r"^## (\S+)", changes, re.MULTILINE)[1] == PROJECT["version"]  # type: ignore[index]


def test_the_readme_is_a_front_page():
    text = (ROOT / "README.md").read_text()
    assert len(text.split()) <= 1500
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
    assert pictures
    for target in pictures:  # the package index shows the page without the repository's files
        assert target.startswith("https://raw.githubusercontent.com/convlens/convlens/main/")
        assert (ROOT / target.partition("/main/")[2]).is_file()
    links = re.findall(r"(?<!!)\[[^]]+\]\(([^)#]+)\)", text)
    assert all(target.startswith("https://") for target in links)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_between_documents_lead_to_files(document):
    path = ROOT / document
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text()):
        blob = "https://github.com/convlens/convlens/blob/main/"
        if target.startswith(blob):
            assert (ROOT / target.removeprefix(blob)).is_file(), target
        elif not target.startswith("https://"):
            assert (path.parent / target).exists(), target


def supported() -> list[str]:
    """The versions of Python that an index installs the package for."""
    needed = SpecifierSet(PROJECT["requires-python"])
    return [version for version in (f"3.{minor}" for minor in range(30)) if needed.contains(f"{version}.5")]


def test_the_versions_of_python_are_the_same_everywhere():
    named = [text.rpartition(" ")[2] for text in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", text)]
    assert named == supported()
    range_ = f"{named[0]} to {named[-1]}"
    assert f"Python {range_}" in (ROOT / "README.md").read_text()
    (check,) = re.findall(r"-c '(import sys; sys\.exit.*)'", (ROOT / "Makefile").read_text())
    assert f"Python {range_}" in check
    for minor in range(9, 16):
        outcome = []
        version = SimpleNamespace(version=f"3.{minor}.5 (x)", version_info=(3, minor, 5), exit=outcome.append)
        exec(check.removeprefix("import sys; "), {"sys": version})
        assert (outcome == [0]) == (f"3.{minor}" in named), minor


def test_the_workflows_run_what_is_there():
    ci = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    pythons = ci["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert all(f"Programming Language :: Python :: {version}" in PROJECT["classifiers"] for version in pythons)
    assert [pythons[0], pythons[-1]] == [supported()[0], supported()[-1]]
    assert ci["env"]["PIP_EXTRA_INDEX_URL"] == "${{ vars.PIP_EXTRA_INDEX_URL }}"
    release = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())
    assert release["jobs"]["publish"]["permissions"] == {"id-token": "write"}
    makefile = (ROOT / "Makefile").read_text()
    steps = [step.get("run", "") for job in (*ci["jobs"].values(), *release["jobs"].values()) for step in job["steps"]]
    for target in re.findall(r"\bmake ([a-z-]+)", "\n".join([*steps, (ROOT / ".ci/run").read_text()])):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert "make test-essential" in (ROOT / ".ci/run").read_text()


def test_the_changelog_names_every_old_key_with_its_new_name():
    changes = (ROOT / "CHANGELOG.md").read_text()
    for scope, old, new in OLD_KEYS:
        before, after = ((name if scope == "root" else f"{scope}.{name}") for name in (old, new))
        assert f"| `{before}` | `{after}` |" in changes
    for (group, old), new in OLD_OPTIONS.items():
        assert f"| `{group}={old}` | `{group}={new}` |" in changes


def present_names() -> set[str]:
    """Names of the functions, classes, variables and attributes of the package."""
    names: set[str] = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                names.add(node.name)
            elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
                names.add(node.id if isinstance(node, ast.Name) else node.attr)
    return names


def test_the_changelogs_new_names_of_functions_and_classes_exist():
    changes = (ROOT / "CHANGELOG.md").read_text().partition("### Renamed functions")[2].partition("\n### ")[0]
    rows = [line for line in changes.partition("\nColumns")[0].splitlines() if line.startswith("| `")]
    assert len(rows) > 150
    there = present_names()
    for row in rows:
        found = re.fullmatch(r"\| `[^`|]+` \| `([\w.]+)(\([^()]*\))?` \|", row)
        assert found, row
        path, _, name = found[1].rpartition(".")
        if not found[1].startswith("torchmetrics."):
            assert name in there, row
        module = path.removeprefix("convlens.").replace(".", "/")
        if "/" in module:
            places = [ROOT / "src/convlens" / where for where in (module, Path(module).parent)]
            assert any(place.is_dir() or place.with_suffix(".py").is_file() for place in places), row

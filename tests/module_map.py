"""Print the list of modules for `src/convlens/README.md`, from the first lines of their docstrings.

``--write`` replaces the list in that file, as `make map` does.
"""

import ast
import sys
from pathlib import Path

HEADING = "## Modules\n\n"
SOURCE = Path(__file__).parents[1] / "src" / "convlens"
# In the order of the walls: each package imports those before it; `data` stands beside them.
PACKAGES = (
    *("io", "nets", "metrics", "stats", "figures", "ops", "deconv", "analysis", "transfer", "data"),
    *("systems", "callbacks", "loggers", "runs", "report", "tasks", "cli"),
)


def summary(path: Path) -> str:
    """Return the first line of a module's docstring, without the final full stop."""
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    return docstring.partition("\n")[0].rstrip(".")


def modules_of(folder: Path) -> list[Path]:
    """Return the modules of a folder, without its ``__init__.py``."""
    return sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")


def modules(folder: Path) -> list[Path]:
    """Return the modules below a folder: those of the folder itself, then those of its sub-folders."""
    below = [path for inner in sorted(folder.iterdir()) if inner.is_dir() for path in modules(inner)]
    return [*modules_of(folder), *below]


def render() -> str:
    """Return the list: a heading for each package with its summary, then a line for each module."""
    lines = [f"- `{path.name}`: {summary(path)}" for path in modules_of(SOURCE)] + [""]
    packages = [path.parent.name for path in SOURCE.glob("*/__init__.py")]
    for name in sorted(packages, key=lambda name: (PACKAGES.index(name) if name in PACKAGES else len(PACKAGES), name)):
        lines += [f"### `{name}/`", "", f"{summary(SOURCE / name / '__init__.py')}.", ""]
        lines += [f"- `{path.relative_to(SOURCE / name)}`: {summary(path)}" for path in modules(SOURCE / name)] + [""]
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Print the list, or write it to the file."""
    if sys.argv[1:] == ["--write"]:
        path = SOURCE / "README.md"
        path.write_text(path.read_text().partition(HEADING)[0] + HEADING + render())
    else:
        print(render(), end="")


if __name__ == "__main__":
    main()

"""Print the versions installed of convlens' dependencies, of all extras, as a constraints file: `make constraints`."""

import platform
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

EXTRAS = {"dev-all"}


def installed_dependencies(name: str, extras: set[str]) -> dict[str, str]:
    """Return the version of every installed package that the distribution needs, directly or not."""
    found: dict[str, str] = {}
    waiting, done = [(name, frozenset(extras))], set()
    while waiting:
        parent, wanted = waiting.pop()
        if (parent, wanted) in done:
            continue
        done.add((parent, wanted))
        for text in distribution(parent).requires or ():
            needed = Requirement(text)
            if needed.marker and not any(needed.marker.evaluate({"extra": extra}) for extra in {"", *wanted}):
                continue
            own = canonicalize_name(needed.name)
            try:
                version = distribution(own).version
            except PackageNotFoundError:  # an optional part that is not installed
                continue
            if own != name:
                found[own] = version.partition("+")[0]  # 2.9.0+cpu and 2.9.0+cu128 are the same release
            waiting.append((own, frozenset(needed.extras)))
    return found


def main() -> None:
    """Print the file."""
    python = ".".join(platform.python_version_tuple()[:2])
    print(f"# The versions with which the recorded numbers were made, on Python {python}:")
    print("# pip install -c .github/constraints.txt -e '.[dev-all]'. Written by `make constraints`.")
    for name, version in sorted(installed_dependencies("convlens", EXTRAS).items()):
        print(f"{name}=={version}")


if __name__ == "__main__":
    main()

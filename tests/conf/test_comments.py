"""Every value in conf/ has a comment with its meaning, in its own file or in those that it has as defaults."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from convlens.cli.task_help import comments
from convlens.runs.conf_files import conf_dir

CONF = conf_dir()
# An ablation's first lines say what its one edit is; Hydra's own settings are its own.
FILES = [path for path in sorted(CONF.rglob("*.yaml")) if path.parent.name not in ("ablation", "help")]
FILES.remove(CONF / "wandb_sweep.yaml")  # W&B's


def leaves(value: Any, place: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in ("defaults", "hydra") and not key.startswith("_"):
                yield from leaves(inner, f"{place}.{key}" if place else key)
    elif place:
        yield place


def explained(path: Path) -> set[str]:
    """The values with a comment in a file and in those of its own group that it begins with."""
    text = path.read_text()
    found = {key for key, comment in comments(text).items() if comment}
    for other in (yaml.safe_load(text) or {}).get("defaults", []):
        if isinstance(other, str) and other != "_self_":
            found |= explained(path.with_name(f"{other}.yaml"))
    return found


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(CONF)) for path in FILES])
def test_every_value_has_a_comment(path):
    own = set(leaves(yaml.safe_load(path.read_text())))
    known = explained(path)
    if path.parent.name == "experiment":  # most are other values of settings of these files
        known |= explained(CONF / "config.yaml") | {"task.layers"}
        for group in ("data", "model", "recipe", "callbacks", "task"):
            for other in sorted((CONF / group).glob("*.yaml")):
                known |= {f"{group}.{key}" for key in explained(other)}
        known |= {f"model.net.filters.conv1.{name}" for name in ("kernel", "stride", "padding")}
    assert own - known == set()

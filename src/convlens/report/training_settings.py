"""How the networks were trained, in the few words that a reader asks for first; the rest is in the configuration."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from convlens.report.format import MISSING
from convlens.report.study_record import Run

ROWS = {
    "images": "data.source._target_",
    "images to train and validate on": "data.source.train",
    "test images": "data.source.test",
    "crop (px)": "data.image_size",
    "epochs": "trainer.max_epochs",
    "batch size": "data.batch_size",
    "optimizer": "system.optimizer._target_",
    "learning rate": "system.optimizer.lr",
    "momentum": "system.optimizer.momentum",
    "weight decay": "system.optimizer.weight_decay",
}
"""What a row is called, and the key of config.yaml that it shows."""


@dataclass(frozen=True)
class Setting:
    """A value of the configuration in each network, as text."""

    name: str
    cells: list[str]

    @property
    def alike(self) -> bool:
        """Whether all networks have the same."""
        return len(set(self.cells)) == 1


def settings(runs: Sequence[Run]) -> list[Setting]:
    """The rows of which some run has the value."""
    configs = [_config(run) for run in runs]
    rows = []
    for name, key in ROWS.items():
        values = [_value(config, key) for config in configs]
        if any(value is not None for value in values):
            rows.append(Setting(name, [_shown(key, value) for value in values]))
    return rows


def _config(run: Run) -> Any:
    try:
        return yaml.safe_load(run.config)
    except yaml.YAMLError:  # the page shows the text as it is
        return None


def _value(config: Any, key: str) -> Any:
    for name in key.split("."):
        config = config.get(name) if isinstance(config, dict) else None
    return config


def _shown(key: str, value: Any) -> str:
    if value is None:
        return MISSING
    return str(value).rpartition(".")[2] if key.endswith("_target_") else str(value)

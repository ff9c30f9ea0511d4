"""The table of training settings: data, crop size, epochs, batch size and optimizer of each network."""

from collections.abc import Sequence
from dataclasses import dataclass

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
"""Name of a row to the key of config.yaml that it shows."""


@dataclass(frozen=True)
class SettingRow:
    """A configuration value of each network, as text."""

    name: str
    cells: Sequence[str]

    @property
    def all_equal(self) -> bool:
        """Whether all networks have the same value."""
        return len(set(self.cells)) == 1


def training_settings(runs: Sequence[Run]) -> list[SettingRow]:
    """Return the rows for which at least one run has a value."""
    rows = []
    for name, key in ROWS.items():
        values = [run.settings.get(key) for run in runs]
        if any(value is not None for value in values):
            rows.append(SettingRow(name, [_format(key, value) for value in values]))
    return rows


def _format(key: str, value: object) -> str:
    if value is None:
        return MISSING
    return str(value).rpartition(".")[2] if key.endswith("_target_") else str(value)

"""How good are a network's features for other images: extraction, probes, sweeps (section 5)."""

from convlens.transfer.features import extract_features
from convlens.transfer.grid import Cell, Outcome, Setting, sweep
from convlens.transfer.probes.fit import Linear, class_targets, fit
from convlens.transfer.targets import Targets

__all__ = [
    "Cell", "Linear", "Outcome", "Setting", "Targets",
    "class_targets", "extract_features", "fit", "sweep",
]  # fmt: skip

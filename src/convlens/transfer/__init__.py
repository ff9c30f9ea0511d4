"""How good are a network's features for other images: extraction, probes, sweeps (section 5)."""

from convlens.transfer.features import extract_features
from convlens.transfer.probes import Linear, class_targets, fit
from convlens.transfer.sweep import Cell, Outcome, Setting, sweep
from convlens.transfer.truth import Truth

__all__ = [
    "Cell", "Linear", "Outcome", "Setting", "Truth",
    "class_targets", "extract_features", "fit", "sweep",
]  # fmt: skip

"""Transfer of features to other images: extraction, linear probes, and the grid of fits (section 5)."""

from convlens.transfer.features import extract_features
from convlens.transfer.grid import ProbeConfig, fit_grid
from convlens.transfer.probe_result import GridPoint, ProbeResult
from convlens.transfer.probes.fit import LinearProbe, class_targets, fit_probe
from convlens.transfer.targets import Metrics, Targets

__all__ = [
    "GridPoint",
    "LinearProbe",
    "Metrics",
    "ProbeConfig",
    "ProbeResult",
    "Targets",
    "class_targets",
    "extract_features",
    "fit_grid",
    "fit_probe",
]

"""Callbacks that write pictures, numbers and checkpoints at chosen epochs of a training run."""

from convlens.callbacks.at_epochs import AtEpochs, paper_epochs
from convlens.callbacks.evolution import FeatureEvolution
from convlens.callbacks.filters import FilterHealthLog, FirstFilters
from convlens.callbacks.projections import TopProjections
from convlens.callbacks.snapshots import Snapshots

__all__ = [
    "AtEpochs",
    "FeatureEvolution",
    "FilterHealthLog",
    "FirstFilters",
    "Snapshots",
    "TopProjections",
    "paper_epochs",
]

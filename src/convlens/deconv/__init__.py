"""The deconvnet: rules for the way down, projections, receptive fields, strongest activations."""

from convlens.deconv.layers import find_layer
from convlens.deconv.project import project, project_fields
from convlens.deconv.receptive import ReceptiveField, receptive_field, receptive_fields
from convlens.deconv.rules import DownwardRules
from convlens.deconv.top import StrongestUnits, TopActivations, top_activations

__all__ = [
    "DownwardRules",
    "ReceptiveField",
    "StrongestUnits",
    "TopActivations",
    "find_layer",
    "project",
    "project_fields",
    "receptive_field",
    "receptive_fields",
    "top_activations",
]

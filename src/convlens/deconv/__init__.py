"""The deconvnet: rules for the way down, projections, receptive fields, strongest activations."""

from convlens.deconv.layers import find_layer
from convlens.deconv.project import FieldProjector, project, project_fields
from convlens.deconv.receptive import ReceptiveField, receptive_field, receptive_fields
from convlens.deconv.rules import DownwardRules
from convlens.deconv.search import top_activations
from convlens.deconv.top import StrongestUnits, TopActivations

__all__ = [
    "DownwardRules",
    "FieldProjector",
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

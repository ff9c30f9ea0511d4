"""The deconvnet: rules for the way down, projections, receptive fields, strongest activations."""

from convlens.analysis.galleries.top_activations import top_activations
from convlens.analysis.galleries.top_k_metric import StrongestUnits, TopActivations
from convlens.deconv.project import FieldProjector, project, project_fields
from convlens.deconv.rules import BackwardRules
from convlens.ops.layer_access import find_layer
from convlens.ops.receptive_field import ReceptiveField, receptive_field, receptive_fields

__all__ = [
    "BackwardRules",
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

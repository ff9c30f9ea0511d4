"""The deconvnet: backward rules, and projections of single units to the pixels."""

from convlens.deconv.project import FieldProjector, project, project_fields
from convlens.deconv.rules import BackwardRules

__all__ = ["BackwardRules", "FieldProjector", "project", "project_fields"]

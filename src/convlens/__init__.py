"""convlens: the experimental system of Zeiler & Fergus (2013) for any image CNN.

The names below are imported on first use, so that ``import convlens`` loads neither torch nor anything else that is
large. Packages and their modules are attributes too: ``convlens.analysis.galleries.array_store``.
"""

import importlib
import importlib.util
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convlens.analysis.correspondence.delta import PartConsistency as PartConsistency
    from convlens.analysis.correspondence.delta import correspondence as correspondence
    from convlens.analysis.diagnosis.diagnose import Diagnosis as Diagnosis
    from convlens.analysis.diagnosis.diagnose import diagnose as diagnose
    from convlens.analysis.galleries.top_activations import top_activations as top_activations
    from convlens.analysis.galleries.top_k_metric import TopActivations as TopActivations
    from convlens.analysis.invariance.curves import Invariance as Invariance
    from convlens.analysis.invariance.curves import invariance as invariance
    from convlens.analysis.occlusion.occlude import OcclusionMaps as OcclusionMaps
    from convlens.analysis.occlusion.occlude import occlude as occlude
    from convlens.deconv.project import project as project
    from convlens.errors import InputError as InputError
    from convlens.ops.receptive_field import ReceptiveField as ReceptiveField
    from convlens.ops.receptive_field import receptive_field as receptive_field
    from convlens.transfer.features import extract_features as extract_features

# Where each public name is defined; a test compares this with the imports for type checkers above.
_NAMES = {
    "Diagnosis": "convlens.analysis.diagnosis.diagnose",
    "InputError": "convlens.errors",
    "Invariance": "convlens.analysis.invariance.curves",
    "OcclusionMaps": "convlens.analysis.occlusion.occlude",
    "PartConsistency": "convlens.analysis.correspondence.delta",
    "ReceptiveField": "convlens.ops.receptive_field",
    "TopActivations": "convlens.analysis.galleries.top_k_metric",
    "correspondence": "convlens.analysis.correspondence.delta",
    "diagnose": "convlens.analysis.diagnosis.diagnose",
    "extract_features": "convlens.transfer.features",
    "invariance": "convlens.analysis.invariance.curves",
    "occlude": "convlens.analysis.occlusion.occlude",
    "project": "convlens.deconv.project",
    "receptive_field": "convlens.ops.receptive_field",
    "top_activations": "convlens.analysis.galleries.top_activations",
}
__all__ = sorted(_NAMES)


def _submodules(package: str) -> Callable[[str], ModuleType]:
    """Return a module ``__getattr__`` that imports the package's submodules when they are first accessed."""

    def load(name: str) -> ModuleType:
        full = f"{package}.{name}"
        if name.startswith("_") or importlib.util.find_spec(full) is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(full)
        if hasattr(module, "__path__") and "__getattr__" not in vars(module):
            module.__getattr__ = _submodules(full)  # type: ignore[method-assign]
        return module

    return load


if not TYPE_CHECKING:  # or type checkers would take any name

    def __getattr__(name: str) -> object:
        if name == "__version__":
            return importlib.import_module("importlib.metadata").version("convlens")
        if name in _NAMES:
            return getattr(importlib.import_module(_NAMES[name]), name)
        try:
            return _submodules("convlens")(name)
        except AttributeError:
            raise AttributeError(f"convlens has no {name!r}: it offers {', '.join(__all__)}") from None


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])

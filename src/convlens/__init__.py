"""convlens: the experimental system of Zeiler & Fergus (2013) for any image CNN.

The names below are imported on first use, so that ``import convlens`` loads neither torch nor anything else that is
large. Packages and their modules are attributes too: ``convlens.analysis.galleries.array_store``.
"""

import importlib
import importlib.util
import sys
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

# The module of each public name; a test compares this with the imports for type checkers above.
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


class _Package(ModuleType):
    """A package of convlens, whose submodules are imported when they are first accessed.

    It is set as the class of each package when the import system binds the package to its parent.
    """

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if isinstance(value, ModuleType) and value.__name__ == f"{self.__name__}.{name}" and hasattr(value, "__path__"):
            value.__class__ = _Package
            for inner, bound in list(vars(value).items()):  # bound while the package itself was imported
                setattr(value, inner, bound)

    def __getattr__(self, name: str) -> object:
        full = f"{self.__name__}.{name}"
        if not name.startswith("_") and importlib.util.find_spec(full) is not None:
            return importlib.import_module(full)
        if self.__name__ == "convlens":
            return _public(name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


def _public(name: str) -> object:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("convlens")
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"convlens has no {name!r}: it offers {', '.join(__all__)}")


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])

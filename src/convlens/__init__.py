"""convlens: the experimental system of Zeiler & Fergus (2013) for any image CNN.

The verbs below are loaded on first use, so that importing the package costs nothing.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_VERBS = {
    "correspondence": "convlens.analysis.correspondence.delta",
    "diagnose": "convlens.analysis.diagnosis.diagnose",
    "extract_features": "convlens.transfer.features",
    "invariance": "convlens.analysis.invariance.curves",
    "occlude": "convlens.analysis.occlusion.occlude",
    "InputError": "convlens.errors",
    "project": "convlens.deconv",
    "receptive_field": "convlens.deconv",
    "top_activations": "convlens.deconv",
}
_PACKAGES = ("nets", "data", "deconv", "analysis", "figures", "metrics", "transfer")
__all__ = [*_VERBS, *_PACKAGES]


def __getattr__(name: str) -> Any:
    if name in _VERBS:
        return getattr(importlib.import_module(_VERBS[name]), name)
    if name in _PACKAGES:
        return importlib.import_module(f"convlens.{name}")
    raise AttributeError(f"convlens has no {name!r}: it offers {', '.join(sorted(__all__))}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])

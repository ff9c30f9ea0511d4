"""Diagnoses of networks that never were: filters, projections and shifts with planted properties."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from convlens.analysis.diagnosis.diagnose import Diagnosis
from convlens.analysis.diagnosis.filter_health import filter_health
from convlens.analysis.diagnosis.run_groups import DiagnosedNetwork, RunGroup
from convlens.analysis.diagnosis.shift_error import ShiftError
from convlens.analysis.diagnosis.spectra import filter_spectra


def noise(count: int, size: int, rng: np.random.Generator, *, slope: float = 1.5, channels: int = 1) -> Tensor:
    """Pictures whose amplitude falls with the frequency by a power law, as in photographs: crops of larger ones."""
    axis = np.fft.fftfreq(96)
    radius = np.hypot(axis[:, None], axis)
    radius[0, 0] = np.inf
    white = np.fft.fft2(rng.normal(size=(count, channels, 96, 96)))
    pictures = torch.from_numpy(np.fft.ifft2(white * radius**-slope).real)[..., :size, :size]
    return (pictures / pictures.std()).float()


def lattice(pictures: Tensor, step: int, strength: float = 0.5) -> Tensor:
    """The pictures with lines that many pixels apart, along both axes."""
    pictures = pictures.clone()
    pictures[..., ::step] += strength
    pictures[..., ::step, :] += strength
    return pictures


def diagnosed(
    seed: int,
    *,
    filters: Tensor | None = None,
    stride: int = 4,
    projections: Tensor | None = None,
    change: Mapping[int, float] | None = None,
    settings: Mapping[str, object] | None = None,
    architecture: str = "net",
    control: Diagnosis | None = None,
) -> DiagnosedNetwork:
    """A run; ``change`` is the first layer's mean change by shift."""
    filters = torch.randn(16, 3, 11, 11, generator=torch.Generator().manual_seed(seed)) if filters is None else filters
    projections = torch.zeros(0, 3, 8, 8) if projections is None else projections
    rng = np.random.default_rng(seed)
    errors = None if change is None else np.array([change[shift] for shift in (1, 2, 3)]) + rng.normal(0, 0.01, (20, 3))
    found = Diagnosis(
        "conv1",
        filters,
        stride,
        filter_health(filters),
        0.0,
        filter_spectra(filters),
        "conv2",
        projections,
        {} if errors is None else {"conv1": ShiftError(stride, errors)},
    )
    return DiagnosedNetwork(f"{architecture}-{seed}", found, architecture, 50.0 + seed, seed, settings or {}, control)


def group(*networks: DiagnosedNetwork) -> RunGroup:
    return RunGroup(list(networks))

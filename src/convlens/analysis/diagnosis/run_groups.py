"""Groups of diagnosed runs that differ only in the seed, and which of them claims 14 to 16 compare."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from math import nan

from convlens.analysis.diagnosis.diagnose import Diagnosis
from convlens.ops.tensor_repr import summary
from convlens.stats.rules import MIN_RUNS

CLIP = "system.max_filter_rms"
"""The setting of a run that clips filters; absent without clipping."""
RECIPE_CLIP = "recipe.max_filter_rms"
PAPER = ((11, 4), (7, 2))
"""Kernel and stride of AlexNet's and ZFNet's first layers, which claims 14 and 15 are about."""


@dataclass(frozen=True)
class DiagnosedNetwork:
    """A network with its diagnosis.

    Attributes:
        name: a name that no other network of the diagnosis has.
        found: the diagnosis.
        architecture: name of the network, such as ``alexnet``.
        error: top-1 error of the run on the test images, in percent; NaN if unknown.
        seed: seed of the run; None if it is not one of a training.
        settings: settings of the training without the seed, by dotted name; equal in runs that differ only in the seed.
        control: diagnosis of the same network with randomized weights; None if there was none.
    """

    name: str
    found: Diagnosis
    architecture: str = ""
    error: float = nan
    seed: int | None = None
    settings: Mapping[str, Hashable] = field(default_factory=dict)
    control: Diagnosis | None = None

    __repr__ = summary


@dataclass(frozen=True)
class RunGroup:
    """Runs that differ only in the seed.

    Attributes:
        networks: at least one; one for each seed.
    """

    networks: Sequence[DiagnosedNetwork]

    __repr__ = summary

    @property
    def found(self) -> list[Diagnosis]:
        """The diagnoses of the runs."""
        return [network.found for network in self.networks]

    @property
    def controls(self) -> list[Diagnosis]:
        """The diagnoses with randomized weights, as far as there are any."""
        return [network.control for network in self.networks if network.control is not None]

    @property
    def layer(self) -> tuple[int, int]:
        """Kernel and stride of the first convolution, in pixels."""
        return self.found[0].kernel, self.found[0].stride

    @property
    def label(self) -> str:
        """Network, kernel and stride, such as ``alexnet 11x11/4``."""
        kernel, stride = self.layer
        return f"{self.networks[0].architecture} {kernel}x{kernel}/{stride}".strip()

    @property
    def counted(self) -> str:
        """The label with the number of runs."""
        return f"{self.label} ({len(self.networks)} run{'s' * (len(self.networks) > 1)})"

    @property
    def settings(self) -> Mapping[str, Hashable]:
        """What the runs have in common."""
        return self.networks[0].settings

    @property
    def training(self) -> dict[str, Hashable]:
        """The settings without those of the network."""
        return {key: value for key, value in self.settings.items() if not key.startswith("model.")}

    @property
    def without_clip(self) -> dict[str, Hashable]:
        """The settings without that of the clipping."""
        return {key: value for key, value in self.settings.items() if key not in (CLIP, RECIPE_CLIP)}


def run_groups(networks: Sequence[DiagnosedNetwork]) -> list[RunGroup]:
    """Return the groups of runs that differ only in the seed, of one architecture, kernel and stride each.

    A run is a unit of the claims: of several runs with the same settings and seed the first one counts.
    """
    found: dict[Hashable, dict[int, DiagnosedNetwork]] = {}
    for network in networks:
        if network.seed is not None:
            layer = (network.architecture, network.found.kernel, network.found.stride)
            members = found.setdefault((layer, frozenset(network.settings.items())), {})
            members.setdefault(network.seed, network)
    return [RunGroup(list(members.values())) for members in found.values()]


def compared_strides(groups: Sequence[RunGroup]) -> tuple[RunGroup, RunGroup] | None:
    """Return the groups of the coarse and the fine stride that claims 14 and 15 compare; None if all are equal.

    Groups of enough runs come first, then the paper's two layers, the largest against the smallest stride, equal
    settings of the training, and networks of one name.
    """

    def rank(pair: tuple[RunGroup, RunGroup]) -> tuple[float, ...]:
        coarse, fine = pair
        (kernel, stride), (small, fine_stride) = coarse.layer, fine.layer
        return (
            _enough(pair),
            (coarse.layer, fine.layer) == PAPER,
            *(stride, -fine_stride),
            coarse.training == fine.training,
            coarse.networks[0].architecture == fine.networks[0].architecture,
            *(kernel, -small),
        )

    pairs = [pair for pair in permutations(groups, 2) if pair[0].layer[1] > pair[1].layer[1]]
    return max(pairs, key=rank, default=None)


def compared_clips(groups: Sequence[RunGroup]) -> tuple[RunGroup, RunGroup] | None:
    """Return the groups without and with clipping that claim 16 compares: equal in all other settings, or None."""
    pairs = [
        (one, other)
        for one, other in permutations(groups, 2)
        if CLIP not in one.settings and CLIP in other.settings and one.without_clip == other.without_clip
    ]
    return max(pairs, key=_enough, default=None)


def not_compared(groups: Sequence[RunGroup], pair: Sequence[RunGroup]) -> str:
    """Return the groups beside a pair in words; empty if there is none."""
    return ", ".join(group.counted for group in groups if not any(group is member for member in pair))


def _enough(pair: tuple[RunGroup, RunGroup]) -> int:
    return min(MIN_RUNS, *(len(group.networks) for group in pair))

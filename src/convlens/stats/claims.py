"""The paper's claims, bootstrap intervals, and the rule that turns intervals into a verdict."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from convlens.errors import InputError

RESAMPLES = 1000
MIN_UNITS = 6
"""With fewer units nothing is decided: if all of five agree, a sign test has p = 0.06."""

SUPPORTS, REFUTES, OPEN = "supports", "refutes", "can't tell"


@dataclass(frozen=True)
class Estimate:
    """A statistic with an interval of 95 %.

    Attributes:
        value: the statistic.
        low: lower bound of the interval.
        high: upper bound of the interval.
        count: number of units, such as images, that the statistic was computed over.
    """

    value: float
    low: float
    high: float
    count: int = MIN_UNITS

    def against(self, level: float) -> str:
        """Return ``above`` or ``below`` a level; ``open`` if the interval contains it or there are too few units."""
        if self.count >= MIN_UNITS and self.low > level:
            return "above"
        return "below" if self.count >= MIN_UNITS and self.high < level else "open"

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def bootstrap(
    count: int, statistic: Callable[[Int[np.ndarray, " count"]], float], *, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """Return a statistic with its percentile bootstrap interval of 95 %.

    Args:
        count: number of units.
        statistic: computes the statistic from indices of units, 0 to ``count - 1``.
        resamples: number of samples with replacement.
        seed: seed of the samples.

    Raises:
        InputError: there is no unit.
    """
    if count < 1:
        raise InputError("no units to compute a statistic of: no map is active, or no image is left")
    drawn = np.random.default_rng(seed).integers(0, count, (resamples, count))
    return interval(statistic(np.arange(count)), np.array([statistic(rows) for rows in drawn]), count)


def interval(value: float, resampled: Float[np.ndarray, " n"], count: int) -> Estimate:
    """Return a statistic of ``count`` units with the central 95 % of its resampled values."""
    # A resample may leave a statistic undefined, such as the correlation of constant values.
    low, high = np.nanquantile(resampled, [0.025, 0.975]) if np.isfinite(resampled).any() else (np.nan, np.nan)
    return Estimate(float(value), float(low), float(high), count)


def mean_of(values: Float[np.ndarray, " n"]) -> Estimate:
    """Return the mean of values with its bootstrap interval."""
    return bootstrap(len(values), lambda rows: float(values[rows].mean()))


def difference(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " m"], *, seed: int = 0) -> Estimate:
    """Return the mean of the first sample minus that of the second, each resampled on its own."""
    rng = np.random.default_rng(seed)
    means = [
        values[rng.integers(0, len(values), (RESAMPLES, len(values)))].mean(1) if len(values) else np.full(1, np.nan)
        for values in (first, second)
    ]
    low, high = np.quantile(means[0] - means[1], [0.025, 0.975])
    value = float(first.mean() - second.mean()) if len(first) and len(second) else float("nan")
    return Estimate(value, float(low), float(high), min(len(first), len(second)))


def verdict(*outcomes: str) -> str:
    """Combine outcomes of `Estimate.against` to a verdict.

    Returns:
        ``supports`` if all are above their level, ``refutes`` if one is below, else ``can't tell``.
    """
    if "below" in outcomes:
        return REFUTES
    return SUPPORTS if set(outcomes) == {"above"} else OPEN


@dataclass(frozen=True)
class Statement:
    """A claim of the paper.

    Attributes:
        text: the claim.
        place: section, figure or table of the paper.
        refuted_if: the outcome that refutes the claim.
    """

    text: str
    place: str
    refuted_if: str


STATEMENTS: Mapping[int, Statement] = {
    1: Statement(
        "projections show what truly excites the map", "section 4.2, Fig 7",
        "the map's activity falls no more where its projection is strong than where another map's is",
    ),
    2: Statement(
        "covering the visualised structure strongly cuts the map's activity", "section 4.2, Fig 7",
        "the cut is no larger where the projection is strong than where it is weak, or where another map's is strong",
    ),
    3: Statement(
        "the deconvnet is clearer than the gradient", "ECCV, footnote 1",
        "its pictures are less sparse or their edges less coherent",
    ),
    5: Statement(
        "the nine projections of a map are of one kind", "section 4, Fig 2",
        "two projections of one map are no more alike than two of different maps",
    ),
    10: Statement(
        "small transformations change the first layer dramatically and the top layer little", "section 4.1, Fig 5",
        "the top layer's relative change is as large as the first layer's",
    ),
    11: Statement(
        "the top layer changes nearly linearly with translation and scale", "section 4.1, Fig 5",
        "a line fits the top layer's distance no better than the first layer's",
    ),
    12: Statement(
        "the output is stable to translation and scaling, but not to rotation", "section 4.1, Fig 5",
        "rotation changes the output no more than translation and scaling do",
    ),
    13: Statement(
        "rotation is harmless where the object has a symmetry", "section 4.1, Fig 5",
        "quarter turns are no better than turns between them, or no more so than for classes without a symmetry",
    ),
    14: Statement(
        "7x7 filters at stride 2 cure AlexNet's lack of middle frequencies and its dead filters", "section 4.1, Fig 6",
        "the share of middle frequencies or of dead filters is no better",
    ),
    15: Statement(
        "a large stride in the first layer causes aliasing in the second", "section 4.1, Fig 6",
        "the larger stride shows no more power at its frequency",
    ),
    16: Statement(
        "clipping the RMS of filters stops single ones from dominating", "section 3, Fig 6 a",
        "the strongest filter is no further above the median without it",
    ),
    17: Statement(
        "the model localises the object and does not use its surroundings only", "section 4.2, Fig 7",
        "covering a place inside of the object costs no more than one outside",
    ),
    18: Statement(
        "the strongest map and the class can be sensitive to different places", "Fig 7",
        "the two maps agree: their correlation is above 0.9",
    ),
    19: Statement(
        "parts correspond at layer 5, less at layer 7", "section 4.3, Table 1",
        "covering the same part changes layer 5 no more consistently than covering random places",
    ),
    20: Statement(
        "7x7 filters at stride 2 make the network better than AlexNet", "section 5.1, Table 3",
        "its error on the same images is higher",
    ),
    21: Statement(
        "depth matters more than any of its sections", "section 5.1, Table 3",
        "removing both sections costs no more than the sum of removing each, or nothing",
    ),
    22: Statement(
        "the dense layers hold most parameters, yet their removal and width matter little", "section 5.1, Table 3",
        "one of them changes the error by more than a quarter, or they do not hold most parameters",
    ),
    23: Statement(
        "wider middle layers help, and wider dense layers beside them overfit", "section 5.1, Table 3",
        "there is no gain, or the gap between training and test images does not grow",
    ),
    24: Statement(
        "pretrained features beat training on the small set alone by far, with few images", "section 5.2, Fig 9",
        "they are no better than the control",
    ),
    25: Statement(
        "features get steadily more discriminative with depth", "section 5.3, Table 7",
        "classes are told apart no better from higher layers",
    ),
    26: Statement(
        "one class for each image does not fit PASCAL VOC, whose images show several", "section 5.2, Table 6",
        "heads that can say several classes are no better",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """A claim of the paper with the evidence of one experiment.

    Attributes:
        number: number of the claim in ``STATEMENTS``.
        about: the layer, network or data that the claim was tested on; may be empty.
        statistic: the statistic and the level it is compared with.
        estimate: value and interval of the statistic.
        verdict: ``supports``, ``refutes`` or ``can't tell``.
        paper: the paper's value of the statistic; empty if it gives none.
        controls: further values that put the estimate in relation, by name.
    """

    number: int
    about: str
    statistic: str
    estimate: Estimate
    verdict: str
    paper: str = ""
    controls: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        about = f", {self.about}" if self.about else ""
        return f"Claim({self.number}{about}: {self.verdict}, {self.estimate})"

    def as_json(self) -> dict[str, object]:
        """Return the claim as it is written to ``result.json``."""
        statement = STATEMENTS[self.number]
        return {
            "number": self.number,
            "claim": statement.text,
            "place": statement.place,
            "about": self.about,
            "statistic": self.statistic,
            "estimate": str(self.estimate),
            "units": self.estimate.count,
            "paper": self.paper,
            "verdict": self.verdict,
            "refuted_if": statement.refuted_if,
            "controls": self.controls,
        }

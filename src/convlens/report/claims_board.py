"""The board of the paper's claims: the evidence of all analyses of all runs, claim by claim."""

from collections.abc import Sequence
from dataclasses import dataclass

from convlens.report.study_record import ClaimRecord, Run


@dataclass(frozen=True)
class Evidence:
    """A claim as decided by one analysis of one run."""

    run: str
    claim: ClaimRecord


@dataclass(frozen=True)
class BoardRow:
    """A claim with all evidence for or against it."""

    number: int
    claim: str
    place: str
    refuted_if: str
    evidence: Sequence[Evidence]

    @property
    def tally(self) -> str:
        """Number of findings with each verdict, such as ``2 x supports, 1 x can't tell``."""
        verdicts = [item.claim.verdict for item in self.evidence]
        return ", ".join(f"{verdicts.count(verdict)} x {verdict}" for verdict in dict.fromkeys(verdicts))


def make_board(runs: Sequence[Run]) -> list[BoardRow]:
    """Return the tested claims in the order of their numbers."""
    by_number: dict[int, list[Evidence]] = {}
    for run in runs:
        for result in run.results:
            for claim in result.claims:
                by_number.setdefault(claim.number, []).append(Evidence(run.name, claim))
    rows = []
    for number, evidence in sorted(by_number.items()):
        first = evidence[0].claim
        rows.append(BoardRow(number, first.claim, first.place, first.refuted_if, evidence))
    return rows

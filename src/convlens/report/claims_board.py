"""The board of the paper's claims: what all analyses of all runs found, claim by claim."""

from collections.abc import Sequence
from dataclasses import dataclass

from convlens.report.study_record import ClaimRecord, Run


@dataclass(frozen=True)
class Evidence:
    """What one analysis of one run says of a claim."""

    run: str
    found: ClaimRecord


@dataclass(frozen=True)
class BoardRow:
    """A claim with all that was found of it."""

    number: int
    claim: str
    place: str
    refuted_if: str
    evidence: list[Evidence]

    @property
    def tally(self) -> str:
        """How many of the findings support it, refute it, or do not tell."""
        verdicts = [item.found.verdict for item in self.evidence]
        return ", ".join(f"{verdicts.count(v)} x {v}" for v in dict.fromkeys(verdicts))


def make_board(runs: Sequence[Run]) -> list[BoardRow]:
    """The claims that were tested, by their numbers."""
    found: dict[int, list[Evidence]] = {}
    for run in runs:
        for result in run.results:
            for claim in result.claims:
                found.setdefault(claim.number, []).append(Evidence(run.name, claim))
    return [
        BoardRow(number, evidence[0].found.claim, evidence[0].found.place, evidence[0].found.refuted_if, evidence)
        for number, evidence in sorted(found.items())
    ]

"""The board of the paper's claims: a row for each of the 26, with the evidence of all runs or how to get it."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from convlens.callbacks.log_media import log_table
from convlens.io.json_files import read_json, write_json
from convlens.report.study_record import ClaimRecord, Run
from convlens.stats.multiplicity import decided_together
from convlens.stats.rules import RULES
from convlens.stats.statements import STATEMENTS
from convlens.stats.verdicts import OPEN

log = logging.getLogger(__name__)

SECTIONS: Mapping[str, Sequence[int]] = {
    "Projections by the deconvnet (section 2)": (3, 4),
    "Training (section 3)": (16,),
    "Feature visualization and evolution (section 4, Figs 2 and 4)": (5, 6, 7, 8, 9),
    "Invariance (section 4.1, Fig 5)": (10, 11, 12, 13),
    "Architecture (section 4.1, Fig 6)": (14, 15),
    "Occlusion (section 4.2, Fig 7)": (1, 2, 17, 18),
    "Correspondence (section 4.3, Table 1)": (19,),
    "ImageNet and ablations (section 5.1, Tables 2 and 3)": (20, 21, 22, 23),
    "Transfer (sections 5.2 and 5.3, Tables 4 to 7)": (24, 25, 26),
}
"""The claims by the section of the paper that makes them."""
ANALYSIS = {
    **dict.fromkeys((1, 2, 3, 17, 18), "occlusion"),
    **dict.fromkeys((4, 5, 6, 7), "projections"),
    **dict.fromkeys((8, 9), "evolution"),
    **dict.fromkeys((10, 11, 12, 13), "invariance"),
    **dict.fromkeys((14, 15, 16), "filters"),
    **dict.fromkeys((19,), "correspondence"),
    **dict.fromkeys((20,), "compare"),
    **dict.fromkeys((21, 22, 23), "collect"),
    **dict.fromkeys((24, 25, 26), "transfer"),
}
"""The analysis that decides each claim."""
CLAIMS = "results/claims.json"
"""The board as a file, in the folder of the report."""
NOT_RUN, NOT_APPLICABLE = "not run", "not applicable"
COLUMNS = ("number", "claim", "network", "verdict", "estimate", "unit", "units", "paper", "effect size")
"""Columns of the board as a table for loggers."""


@dataclass(frozen=True)
class Evidence:
    """A claim as decided by one analysis of one run.

    Attributes:
        run: name of the run.
        claim: what its analysis found.
        corrected: whether its verdict was withdrawn because of the number of claims that are read together.
    """

    run: str
    claim: ClaimRecord
    corrected: bool = False


@dataclass(frozen=True)
class BoardRow:
    """A claim with all evidence for or against it.

    Attributes:
        number: number of the claim.
        section: the paper's section, with its figure or table.
        claim: the claim in words.
        place: section, figure or table of the paper.
        refuted_if: the outcome that refutes it.
        statistic: the statistic that decides it.
        evidence: of all runs; empty if none tested it.
        missing: why there is no evidence; empty if there is some.
        command: what would test it.
    """

    number: int
    section: str
    claim: str
    place: str
    refuted_if: str
    statistic: str
    evidence: Sequence[Evidence]
    missing: str
    command: str

    @property
    def tally(self) -> str:
        """The verdict, or the number of findings with each, such as ``2 x supports, 1 x can't tell``."""
        verdicts = [item.claim.verdict for item in self.evidence]
        if len(set(verdicts)) == 1:
            return verdicts[0]
        return ", ".join(f"{verdicts.count(verdict)} x {verdict}" for verdict in dict.fromkeys(verdicts)) or (
            NOT_APPLICABLE if self.missing.startswith("needs") else NOT_RUN
        )

    def as_line(self) -> str:
        """Return the claim in one line: number, verdict, claim, and the estimate of each run or the command."""
        found = "; ".join(
            f"{item.claim.estimate}{' ' + item.claim.unit if item.claim.unit else ''}"
            + (f" {item.run}" if item.run else "")
            for item in self.evidence[:2]
        )
        more = f" and {len(self.evidence) - 2} more" if len(self.evidence) > 2 else ""
        return f"{self.number:2d}. {self.tally}: {self.claim}. {found or self.missing}{more}"


def make_board(runs: Sequence[Run]) -> list[BoardRow]:
    """Return a row for each claim of the paper, in the order of its sections.

    Verdicts that do not stay decided when all findings of the report are read together become *can't tell*.
    """
    found = [Evidence(run.name, claim) for run in runs for result in run.results for claim in result.claims]
    stay = decided_together([item.claim.p for item in found])
    # Records of earlier versions have no p-value, and stay as they are.
    corrected = [
        item
        if kept or item.claim.p is None or item.claim.verdict not in ("supports", "refutes", "architecture")
        else replace(item, claim=replace(item.claim, verdict=OPEN), corrected=True)
        for item, kept in zip(found, stay, strict=True)
    ]
    done = {result.analysis.partition("_")[0] for run in runs for result in run.results}
    return [
        _row(number, section, [item for item in corrected if item.claim.number == number], done)
        for section, numbers in SECTIONS.items()
        for number in numbers
    ]


def _row(number: int, section: str, evidence: Sequence[Evidence], done: set[str]) -> BoardRow:
    statement, rule = STATEMENTS[number], RULES[number]
    missing = ""
    if not evidence:
        missing = f"needs {rule.needs}" if rule.needs and ANALYSIS[number] in done else f"run: {rule.command}"
    return BoardRow(
        number,
        section,
        statement.text,
        statement.place,
        statement.refuted_if,
        rule.statistic,
        evidence,
        missing,
        rule.command,
    )


def write_board(board: Sequence[BoardRow], path: Path) -> None:
    """Write the board to a JSON file: a list of claims, each with its verdict, its evidence and one line of text."""
    rows = [{"verdict": row.tally, "line": row.as_line()} | asdict(row) for row in board]
    write_json(path, {"claims": rows, "table": board_table(board)})


def log_board(folder: Path, loggers: Sequence[Any]) -> None:
    """Log a line for each claim of the report in a folder, and the board as a table to the loggers that have tables."""
    board = read_json(folder / CLAIMS)
    for row in board["claims"]:
        log.info("%s", row["line"])
    log_table(loggers, "claims", COLUMNS, board["table"], 0)


def board_table(board: Sequence[BoardRow]) -> list[list[object]]:
    """Return the board as rows of ``COLUMNS``: one for each finding, and one for each claim that was not tested."""
    rows: list[list[object]] = []
    for row in board:
        for item in row.evidence:
            one = item.claim
            rows.append(
                [row.number, row.claim, item.run, one.verdict, one.estimate, one.unit, one.units, one.paper, one.effect]
            )
        if not row.evidence:
            rows.append([row.number, row.claim, "", row.tally, row.missing, "", "", "", ""])
    return rows

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lightning.pytorch.loggers.logger import DummyLogger

from convlens.errors import InputError
from convlens.io.json_files import load_json
from convlens.report import write_report
from convlens.report.claims_board import ANALYSIS, COLUMNS, SECTIONS, log_board, make_board
from convlens.report.load import _claim
from convlens.report.study_record import Result, Run
from convlens.stats.claims import claim
from convlens.stats.estimates import mean_of
from convlens.stats.results import AnalysisResult


def claim_of(number: int, mean: float, count: int = 20, seed: int = 0):
    return claim(number, mean_of(np.random.default_rng(seed).normal(mean, 0.2, count)))


@pytest.fixture
def run(tmp_path: Path, make_run) -> Any:
    """Write a run whose occlusion decided some claims."""

    def write(*claims, name: str = "zfnet") -> Path:
        folder = make_run(tmp_path / "study" / name, name, 10.0)
        (folder / "results" / "occlusion").mkdir(parents=True)
        AnalysisResult("occlusion", "Occlusion", "Fig 7", "", claims=claims).write(folder / "results" / "occlusion")
        return folder

    return write


def test_every_claim_has_one_place_on_the_board():
    numbers = [number for section in SECTIONS.values() for number in section]
    assert sorted(numbers) == sorted(ANALYSIS) == list(range(1, 27))


def test_all_claims_are_there_with_what_would_test_them(run):
    write_report(folder := run(claim_of(1, 0.5)))
    claims = {row["number"]: row for row in load_json(folder / "results/claims.json")["claims"]}
    assert sorted(claims) == list(range(1, 27))
    assert claims[1]["verdict"] == "supports"
    assert claims[10]["verdict"] == "not run"
    assert claims[10]["missing"] == "run: convlens task=invariance run=DIR"
    # The occlusion was done, and its data have no boxes.
    assert (claims[17]["verdict"], claims[17]["missing"]) == ("not applicable", "needs boxes or masks of objects")


def test_a_board_of_nothing_says_how_to_begin():
    board = make_board([])
    assert len(board) == 26
    assert {row.tally for row in board} == {"not run"}
    assert all(row.missing.startswith("run: convlens ") for row in board)


def evidence(name: str, *claims) -> Run:
    records = [
        Result("occlusion", "", "", "", [], [], [], [record])
        for record in map(record_of, claims)
    ]  # fmt: skip
    return Run(name, Path(name), results=records)


def record_of(one):
    return _claim(one.as_json())


def test_verdicts_are_read_together():
    """A p-value of 0.03 decides alone, and not among twenty others that decide nothing."""
    rng = np.random.default_rng(0)
    barely = next(
        one
        for one in (claim(17, mean_of(rng.normal(0.09, 0.2, 25))) for _ in range(200))
        if one.verdict == "supports" and 0.02 < one.as_json()["p"] < 0.05
    )
    alone = {row.number: row for row in make_board([evidence("a", barely)])}
    assert alone[17].tally == "supports"
    others = [evidence(f"b{n}", claim(17, mean_of(rng.normal(0.0, 0.3, 25)))) for n in range(20)]
    together = {row.number: row for row in make_board([evidence("a", barely), *others])}
    (first,) = (item for item in together[17].evidence if item.run == "a")
    assert (first.claim.verdict, first.corrected) == ("can't tell", True)


def test_several_networks_share_a_row():
    board = {row.number: row for row in make_board([evidence("a", claim_of(1, 0.5)), evidence("b", claim_of(1, -0.5))])}
    assert board[1].tally == "1 x supports, 1 x refutes"
    assert [item.run for item in board[1].evidence] == ["a", "b"]
    line = board[1].as_line()
    assert line.startswith(" 1. 1 x supports, 1 x refutes: projections show what truly excites the map. 0.")
    assert line.endswith(" b")


def test_records_of_earlier_versions_stay_as_they_were(run):
    folder = run()
    path = folder / "results" / "occlusion" / "result.json"
    old = load_json(path)
    old["claims"] = [{"number": 1, "claim": "c", "estimate": "0.3 (0.2 to 0.4)", "verdict": "supports", "units": 9}]
    path.write_text(json.dumps(old))
    write_report(folder)
    row = next(row for row in load_json(folder / "results/claims.json")["claims"] if row["number"] == 1)
    assert row["verdict"] == "supports"


class Tables(DummyLogger):
    """A logger that keeps its tables."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: dict[str, tuple[list[str], list[list[object]]]] = {}

    def log_table(self, key, columns, data, step=0):
        self.tables[key] = (list(columns), [list(row) for row in data])


def test_the_board_is_logged_in_lines_and_as_a_table(run, caplog):
    write_report(folder := run(claim_of(1, 0.5)))
    logger = Tables()
    with caplog.at_level(logging.INFO):
        log_board(folder, [logger])
    lines = [record.message for record in caplog.records]
    assert len(lines) == 26
    assert lines[0].lstrip().startswith("3. ")
    columns, rows = logger.tables["claims"]
    assert columns == list(COLUMNS)
    assert len(rows) == 26
    assert {len(row) for row in rows} == {len(COLUMNS)}


def test_the_page_shows_all_claims_in_one_line_each(run, page):
    found = page(write_report(run(claim_of(1, 0.5))))
    assert len(found.find("details", **{"class": "group claim"})) == 26
    assert "convlens task=invariance run=DIR" in found.text


def test_a_file_of_the_user_is_not_overwritten(run):
    folder = run()
    (folder / "results" / "claims.json").write_text("my notes")
    with pytest.raises(InputError, match="would be overwritten and was not written by convlens"):
        write_report(folder)
    assert (folder / "results" / "claims.json").read_text() == "my notes"

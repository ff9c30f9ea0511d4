import json
import math

import pytest
from omegaconf import OmegaConf

from convlens.cli.outcomes import BEGUN, DONE, FAILED, REFUSED, SKIPPED, WORST, Outcome, finish_sweep, note_outcome
from convlens.cli.sweep_callback import SweepRecord


def test_the_summary_counts_states_and_names_what_did_not_succeed(tmp_path, capsys):
    folder = tmp_path / "20260101-000000-7"
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/traceback.txt").touch()
    outcomes = [
        Outcome(DONE, "a", objective=12.5),
        Outcome(SKIPPED, "b"),
        Outcome(FAILED, str(tmp_path / "bad"), 1, "RuntimeError: no"),
        Outcome(REFUSED, "d", 2, "give another"),
        Outcome(BEGUN, "e", 1),
    ]
    for number, outcome in enumerate(outcomes):
        note_outcome(folder, number, outcome)
    found = finish_sweep(folder)
    assert [outcome.state for outcome in found] == [outcome.state for outcome in outcomes]
    assert math.isnan(found[1].objective)
    assert capsys.readouterr().out.splitlines() == [
        "5 jobs: 1 done, 1 skipped (finished before), 1 refused, 1 failed, 1 begun but never ended",
        f"failed: {tmp_path}/bad: RuntimeError: no; traceback in {tmp_path}/bad/traceback.txt",
        "refused: d: give another",
        "begun: e: begun but never ended",
    ]
    assert not folder.exists()
    jobs = json.loads((tmp_path / "20260101-000000-7.json").read_text())["jobs"]
    assert (jobs[0]["objective"], jobs[1]["objective"], jobs[3]["reason"]) == (12.5, None, "give another")


def test_a_job_without_an_objective_is_the_worst_for_a_search():
    assert float(Outcome(DONE, objective=3.0)) == 3.0
    assert float(Outcome(REFUSED)) == WORST


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ([Outcome(DONE), Outcome(SKIPPED)], None),
        ([Outcome(DONE, code=1)], 1),  # a study of which a part failed
        ([Outcome(REFUSED, code=2), Outcome(DONE)], 2),
        ([Outcome(REFUSED, code=2), Outcome(FAILED, code=1)], 1),
        ([Outcome(BEGUN, code=1)], 1),
    ],
)
def test_a_sweep_ends_with_the_exit_code_of_its_worst_job(tmp_path, outcomes, code):
    record = SweepRecord()
    record.folder = tmp_path / "sweep"
    for number, outcome in enumerate(outcomes):
        note_outcome(record.folder, number, outcome)
    if code is None:
        record.on_multirun_end(OmegaConf.create())
        return
    with pytest.raises(SystemExit) as stop:
        record.on_multirun_end(OmegaConf.create())
    assert stop.value.code == code

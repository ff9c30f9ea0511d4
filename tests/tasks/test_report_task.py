import shutil

import pytest


def test_a_run_gets_a_report_beside_its_results(convlens, trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    outcome = convlens("task=report", "run=run")
    assert (outcome.code, outcome.err) == (0, ""), outcome
    assert outcome.out.splitlines()[-1] == f"report: {tmp_path / 'run' / 'report.html'}"
    page = (tmp_path / "run" / "report.html").read_text()
    assert "tiny zfnet" in page
    assert "data:image/png;base64," in page


def test_several_runs_stand_side_by_side_in_the_jobs_own_directory(convlens, trained, tmp_path):
    for name in "ab":
        shutil.copytree(trained, tmp_path / name)
    outcome = convlens("task=report", "task.run_dirs=[a,b]", "output_root=out")
    assert outcome.code == 0, outcome
    (path,) = tmp_path.glob("out/report/*/report.html")
    assert outcome.out.splitlines()[-1] == f"report: {path}"
    assert "tiny zfnet (a)" in (page := path.read_text())
    assert "tiny zfnet (b)" in page


@pytest.mark.parametrize("runs", ["one", "[one]"])
def test_one_run_needs_no_brackets(convlens, trained, tmp_path, runs):
    shutil.copytree(trained, tmp_path / "one")
    outcome = convlens("task=report", f"task.run_dirs={runs}", "run_dir=out")
    assert outcome.code == 0, outcome
    assert (tmp_path / "out" / "report.html").exists()


def test_a_missing_run_is_named(refused, trained, tmp_path):
    shutil.copytree(trained, tmp_path / "a")
    assert refused("task=report", "task.run_dirs=[a,nowhere]") == "no such run directory: nowhere"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]

import json

from convlens.runs.predictions import ensemble_of
from tests.runs.finished_runs import make_run


def test_the_ensemble_task_writes_a_row_for_each_and_one_for_all(convlens, tmp_path):
    runs = [make_run(tmp_path / f"run{seed}", seed, 0.2 + 0.2 * seed) for seed in range(3)]
    outcome = convlens("task=ensemble", f"task.run_dirs=[{','.join(map(str, runs))}]", "run_dir=together")
    assert outcome.code == 0, outcome
    result = json.loads((tmp_path / "together/results/ensemble/result.json").read_text())
    rows = result["tables"][0]["rows"]
    assert [row[0] for row in rows] == ["run0", "run1", "run2", "3 networks"]
    assert [row[1] for row in rows[:3]] == ["20.00", "40.00", "60.00"]
    error = f"{ensemble_of(runs).top1_error:.2f}"
    assert rows[3][1] == error
    assert f"3 networks: top-1 error {error} %" in outcome.out
    assert outcome.out.splitlines()[-1] == "results in together/results/ensemble"


def test_an_ensemble_of_one_or_of_other_images_is_refused(refused, tmp_path):
    make_run(tmp_path / "one", 0, 0.2)
    make_run(tmp_path / "two", 0, 0.2, images="others")
    assert refused("task=ensemble", "task.run_dirs=[one]").startswith("task.run_dirs=[one]: give the directories of at")
    assert "at least two runs" in refused("task=ensemble", "task.run_dirs=[one,one]")
    assert "were tested on different images" in refused("task=ensemble", "task.run_dirs=[one,two]")
    assert "no test probabilities at three/results/test/probabilities.npz" in refused(
        "task=ensemble", "task.run_dirs=[one,three]"
    )
    assert not list(tmp_path.glob("*/results/ensemble"))

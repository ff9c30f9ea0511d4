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


def test_networks_of_two_kinds_are_the_papers_a_and_b(convlens, tmp_path):
    runs = [make_run(tmp_path / f"a{seed}", seed, 0.2 + 0.05 * seed) for seed in range(5)]
    wide = make_run(tmp_path / "b", 0, 0.15, model="zfnet_wide")
    typed = ",".join(map(str, [*runs, wide]))
    assert convlens("task=ensemble", f"task.run_dirs=[{typed}]", "run_dir=together").code == 0
    result = json.loads((tmp_path / "together/results/ensemble/result.json").read_text())
    own, paper = result["tables"]
    assert own["columns"][3:] == ["paper: val top-1", "paper: val top-5", "paper: test top-5"]
    rows = {row[0]: row[1:] for row in own["rows"]}
    five, six = f"{ensemble_of(runs).top1_error:.2f}", f"{ensemble_of([*runs, wide]).top1_error:.2f}"
    assert rows["a0"] == ["20.00", rows["a0"][1], "38.4", "16.5", None]
    assert rows["b"][2:] == ["37.5", "16.0", "16.1"]
    assert [rows["5 networks, zfnet"][place] for place in (0, 2, 3, 4)] == [five, "36.7", "15.3", "15.3"]
    assert [rows["6 networks"][place] for place in (0, 2, 3, 4)] == [six, "36.0", "14.7", "14.8"]
    printed = {row[0]: row[1:] for row in paper["rows"]}
    assert printed["Gunji et al. 2012"] == [None, None, "26.2", None, None, None]
    assert printed["ZFNet, 1 net"][:4] == ["38.4", "16.5", None, "mean of 5"]
    assert printed["ZFNet, 1 net"][4] == "30.00"  # 20, 25, 30, 35, 40
    assert printed["ZFNet, 5 nets (a)"][3:5] == ["5", five]
    assert printed["6 nets, (a) and (b)"][3:5] == ["6", six]
    assert printed["AlexNet, the paper's replication, 1 net"][3:] == [None, None, None]


def test_an_ablation_of_wide_layers_is_the_papers_b(convlens, tmp_path):
    pair = [make_run(tmp_path / name, 0, 0.2, ablation=name) for name in ("wide", "fc_2048")]
    assert convlens("task=ensemble", f"task.run_dirs=[{','.join(map(str, pair))}]", "run_dir=out").code == 0
    own, paper = json.loads((tmp_path / "out/results/ensemble/result.json").read_text())["tables"]
    assert [row[3] for row in own["rows"]] == ["37.5", None, None]
    assert [row[0] for row in paper["rows"] if row[4]] == ["ZFNet with 512, 1024, 512 maps in layers 3 to 5, 1 net (b)"]


def test_networks_that_the_paper_does_not_have_stand_alone(convlens, tmp_path):
    pair = [make_run(tmp_path / str(seed), seed, 0.2, model="resnet18") for seed in (0, 1)]
    assert convlens("task=ensemble", f"task.run_dirs=[{','.join(map(str, pair))}]", "run_dir=out").code == 0
    (own,) = json.loads((tmp_path / "out/results/ensemble/result.json").read_text())["tables"]
    assert [row[3:] for row in own["rows"]] == 3 * [[None, None, None]]


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

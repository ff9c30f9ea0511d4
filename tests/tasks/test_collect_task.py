import csv
import json
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from convlens.errors import InputError
from convlens.metrics.ensemble import averaged
from convlens.runs.freshness import finished_runs, is_collected, keep_collected
from convlens.runs.groups import find_groups, names_of
from convlens.tasks.collect import collect, networks

CLASSES, IMAGES = 6, 40


def make_run(folder: Path, seed: int, error: float, *, images: str = "test", command: str = "", **metrics) -> Path:
    """A finished run whose predictions are wrong for the last images."""
    rng = np.random.default_rng(seed)
    labels = np.arange(IMAGES) % CLASSES
    wrong = np.arange(IMAGES) >= IMAGES * (1 - error)
    best = np.where(wrong, (labels + 1) % CLASSES, labels)
    scores = rng.random((IMAGES, CLASSES)) * 0.1
    scores[np.arange(IMAGES), best] = 1 + 0.01 * seed
    scores /= scores.sum(1, keepdims=True)
    for split in ("test", "seen"):
        results = folder / "results" / split
        results.mkdir(parents=True)
        order = np.argsort(-scores, 1)
        names = np.array([f"{images}/{number}" for number in range(IMAGES)])
        np.savez(results / "predictions.npz", labels=labels, top5=order[:, :5], images=names)
        np.savez(results / "probabilities.npz", probabilities=scores.astype(np.float16))
    numbers = {"test/top1_error": 100 * error, "test/top5_error": 1.0, "seen/top1_error": 5.0, "val/top1_error": 7.0}
    numbers |= {"parameters": 2_000_000, "conv_parameters": 500_000} | metrics
    (folder / "metrics.json").write_text(json.dumps(numbers))
    record = {"task": "train", "status": "finished", "name": folder.name, "command": command}
    (folder / "run.json").write_text(json.dumps(record))
    return folder


@pytest.fixture
def sweep(tmp_path) -> Path:
    """Two networks, one of them with an ablation, two seeds each; and one run that failed."""
    for model, ablation, error in (("alexnet", "none", 0.5), ("alexnet", "fc_2048", 0.25), ("zfnet", "none", 0.3)):
        for seed in (0, 1):
            command = f"convlens experiment=ablation model={model} ablation={ablation} seed={seed} trainer.devices=1"
            make_run(tmp_path / f"{model}-{ablation}-{seed}", seed, error + 0.1 * seed, command=command)
    failed = tmp_path / "failed"
    failed.mkdir()
    (failed / "run.json").write_text(json.dumps({"task": "train", "status": "failed", "command": "convlens seed=7"}))
    return tmp_path


def test_runs_that_differ_in_the_seed_are_one_row(sweep):
    groups, others = find_groups(sweep)
    assert sorted(names_of(groups)) == ["alexnet", "alexnet, fc_2048", "zfnet"]
    assert [list(group.seeds) for group in groups] == [[0, 1]] * 3
    assert others == {"failed": 1}


def test_the_table_has_means_spreads_differences_and_the_papers_numbers(sweep):
    collect(sweep)
    folder = sweep / "results" / "collect"
    with (folder / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["network"] for row in rows] == ["alexnet", "alexnet, fc_2048", "zfnet"]
    base, narrow = rows[:2]
    assert float(base["test top-1"]) == pytest.approx(55)  # of 50 and 60
    assert float(base["test top-1 sd"]) == pytest.approx(7.0710678)
    assert float(narrow["less base value"]) == pytest.approx(-25)
    assert float(narrow["less base low"]) < -25 < float(narrow["less base high"])
    assert base["less base value"] == ""
    assert (float(base["parameters, M"]), float(base["in convolutions, M"])) == (2.0, 0.5)
    assert [float(narrow[f"paper {key}"]) for key in ("train top-1", "val top-1", "val top-5")] == [40.3, 41.7, 18.8]
    stored = parquet.read_table(folder / "table.parquet").to_pylist()
    assert [row["test top-1"] for row in stored] == pytest.approx([float(row["test top-1"]) for row in rows])
    marked = (folder / "table.md").read_text().splitlines()
    assert len(marked) == 5
    assert marked[3].startswith("| alexnet, fc_2048 | 2 |")
    result = json.loads((folder / "result.json").read_text())
    assert [(claim["number"], claim["about"]) for claim in result["claims"]] == [(20, "parts")]
    assert float(base["paper five averaged top-5"]) == 16.4
    assert "Not in the table: 1 failed" in result["text"]


def test_networks_that_were_tested_on_other_images_are_not_subtracted(sweep):
    for seed in (0, 1):
        command = f"convlens experiment=ablation model=zfnet ablation=wide seed={seed}"
        make_run(sweep / f"other{seed}", seed, 0.1, images="others", command=command)
    collect(sweep)
    with (sweep / "results" / "collect" / "table.csv").open() as file:
        wide = next(row for row in csv.DictReader(file) if row["network"] == "zfnet, wide")
    assert (wide["test top-1"], wide["less base value"]) != ("", "")
    assert wide["less base value"] == ""


def test_each_setting_has_its_claims_and_its_picture(sweep):
    for model, error in (("alexnet", 0.2), ("zfnet", 0.6)):
        for seed in (0, 1):
            command = f"convlens experiment=ablation model={model} data=tiny_imagenet seed={seed}"
            make_run(sweep / f"tiny-{model}-{seed}", seed, error, command=command)
    collect(sweep)
    folder = sweep / "results/collect"
    result = json.loads((folder / "result.json").read_text())
    found = {claim["about"]: claim["estimate"].partition(" ")[0] for claim in result["claims"]}
    assert found == {"parts": "20.000", "tiny_imagenet": "-40.000"}
    assert [figure["file"] for figure in result["figures"]] == ["errors.png", "errors_2.png"]
    assert all((folder / figure["file"]).exists() for figure in result["figures"])


def test_runs_that_tell_nothing_are_counted_and_left_out(sweep):
    ok = "convlens experiment=ablation model=zfnet ablation=wide"
    twice = make_run(sweep / "zfnet-twice", 0, 0.9, command="convlens experiment=ablation model=zfnet seed=0")
    (twice / "results/test/predictions.npz").write_bytes(b"no zip")
    make_run(sweep / "odd", 0, 0.1, command=f"{ok} seed=abc")
    (make_run(sweep / "empty", 0, 0.1, command=f"{ok} seed=1") / "metrics.json").unlink()
    (make_run(sweep / "torn", 0, 0.1, command=f"{ok} seed=0") / "results/test/predictions.npz").write_bytes(b"PK")
    rows = {row["network"]: row for row in collect(sweep)}
    assert rows["zfnet"]["test top-1"] == pytest.approx(35)  # of 30 and 40
    assert rows["zfnet, wide"]["less base value"] is None
    text = json.loads((sweep / "results/collect/result.json").read_text())["text"]
    assert "2 without a seed or numbers that can be read" in text
    assert "1 of a seed that is there already" in text


def test_what_an_experiment_chose_is_known_from_the_record(sweep):
    folder = make_run(sweep / "search", 0, 0.1, command="convlens experiment=first_layer_search kernel=5")
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | {"choices": {"model": "alexnet", "data": "cifar10"}}))
    (group,) = [group for group in find_groups(sweep)[0] if "kernel" in group.given]
    assert (group.model, group.given["data"]) == ("alexnet", "cifar10")


def test_a_damaged_run_costs_no_more_than_its_own_numbers(sweep):
    (sweep / "alexnet-none-0/results/test/probabilities.npz").write_bytes(b"PK cut short")
    (sweep / "zfnet-none-0/results/test/predictions.npz").unlink()
    for name, record in (("odd", []), ("open", {"task": "train", "status": "finished", "command": "convlens 'a=1"})):
        (sweep / name).mkdir()
        (sweep / name / "run.json").write_text(json.dumps(record))
    rows = {row["network"]: row for row in collect(sweep)}
    assert rows.keys() == {"alexnet", "alexnet, fc_2048", "zfnet"}
    assert [rows[name]["averaged top-1"] is None for name in rows] == [True, False, True]
    assert find_groups(sweep)[1] == {"failed": 1, "unreadable": 1}
    with pytest.raises(InputError, match=r"alexnet-none-0/results/test cannot be read"):
        averaged([sweep / "alexnet-none-0", sweep / "alexnet-none-1"])


def test_images_that_were_trained_on_may_be_others_with_another_seed(sweep):
    for folder in sweep.glob("*-1"):
        file = folder / "results/seen/predictions.npz"
        arrays = dict(np.load(file))
        np.savez(file, **arrays | {"images": np.array([f"other/{number}" for number in range(IMAGES)])})
    rows = networks(find_groups(sweep)[0])["alexnet"]
    assert [list(rows.seen[name]) for name in ("none", "fc_2048")] == [[0, 1], [0, 1]]
    assert [list(rows.test[name]) for name in ("none", "fc_2048")] == [[0, 1], [0, 1]]


def test_a_table_counts_as_made_only_of_the_runs_that_are_finished_and_where_it_is_shown(sweep):
    assert not is_collected(sweep, ["csv"])
    before = finished_runs(sweep)
    assert len(before) == 6
    collect(sweep)
    keep_collected(sweep, before, ["csv"])
    assert is_collected(sweep, ["csv"])
    assert not is_collected(sweep, ["csv", "wandb"])
    make_run(sweep / "late", 2, 0.4, command="convlens experiment=ablation model=zfnet seed=2")
    assert not is_collected(sweep, ["csv"])


def test_names_tell_groups_apart_by_all_they_were_given(tmp_path):
    for number, given in enumerate(("", " callbacks=none")):
        make_run(tmp_path / str(number), 0, 0.4, command=f"convlens model=zfnet seed=0{given}")
    assert sorted(names_of(find_groups(tmp_path)[0])) == ["zfnet", "zfnet, callbacks=none"]


def test_a_folder_without_runs_is_refused(refused, tmp_path):
    assert refused("task=collect").startswith("task=collect needs the folder of the runs")
    assert "there is no such folder" in refused("task=collect", "sweep=nowhere")
    (tmp_path / "empty").mkdir()
    assert "no finished training run below it (none at all)" in refused("task=collect", "sweep=empty")


# ---- ensembles ---------------------------------------------------------------------------------------------------


def test_networks_are_averaged_by_their_probabilities(tmp_path):
    runs = [make_run(tmp_path / str(seed), seed, 0.2 + 0.2 * seed) for seed in range(3)]
    total = sum(np.load(run / "results/test/probabilities.npz")["probabilities"].astype(float) for run in runs)
    labels = np.arange(IMAGES) % CLASSES
    expected = 100 * np.mean(total.argmax(1) != labels)
    found = averaged(runs)
    assert found.top1_error == pytest.approx(expected)
    assert averaged(runs[:1]).top1_error == pytest.approx(20)


def test_the_ensemble_task_writes_a_row_for_each_and_one_for_all(convlens, tmp_path):
    runs = [make_run(tmp_path / f"run{seed}", seed, 0.2 + 0.2 * seed) for seed in range(3)]
    outcome = convlens("task=ensemble", f"task.runs=[{','.join(map(str, runs))}]", "run_dir=together")
    assert outcome.code == 0, outcome
    result = json.loads((tmp_path / "together/results/ensemble/result.json").read_text())
    rows = result["tables"][0]["rows"]
    assert [row[0] for row in rows] == ["run0", "run1", "run2", "3 networks"]
    assert [row[1] for row in rows[:3]] == ["20.00", "40.00", "60.00"]
    assert rows[3][1] == f"{averaged(runs).top1_error:.2f}"


def test_an_ensemble_of_one_or_of_other_images_is_refused(refused, tmp_path):
    one = make_run(tmp_path / "one", 0, 0.2)
    make_run(tmp_path / "two", 0, 0.2, images="others")
    assert "at least two runs" in refused("task=ensemble", "task.runs=[one]")
    assert "were tested on different images" in refused("task=ensemble", "task.runs=[one,two]")
    assert "no test probabilities in" in refused("task=ensemble", "task.runs=[one,three]")
    (one / "results/test/probabilities.npz").unlink()
    with pytest.raises(InputError, match="no test probabilities"):
        averaged([one])

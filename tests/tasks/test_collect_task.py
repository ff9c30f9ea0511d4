import csv
import json
from pathlib import Path

import pytest

from convlens.runs.freshness import finished_runs, is_collected, note_collected
from convlens.tasks.collect import collect
from tests.runs.finished_runs import make_run


@pytest.fixture
def sweep(tmp_path) -> Path:
    """Two networks, one of them with an ablation, two seeds each; and one run that failed."""
    for model, ablation, error in (("alexnet", "none", 0.5), ("alexnet", "fc_2048", 0.25), ("zfnet", "none", 0.3)):
        for seed in (0, 1):
            folder = tmp_path / f"{model}-{ablation}-{seed}"
            make_run(folder, seed, error + 0.1 * seed, model=model, ablation=ablation)
    failed = tmp_path / "failed"
    failed.mkdir()
    (failed / "run.json").write_text(json.dumps({"task": "train", "status": "failed"}))
    return tmp_path


def test_the_table_has_means_spreads_differences_and_the_papers_numbers(sweep):
    collect(sweep)
    folder = sweep / "results" / "collect"
    assert {path.name for path in folder.iterdir()} >= {"table.csv", "table.md", "errors.png", "result.json"}
    with (folder / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["network"] for row in rows] == ["alexnet", "alexnet, fc_2048", "zfnet"]
    base, narrow = rows[:2]
    assert float(base["test top-1"]) == pytest.approx(55)  # of 50 and 60
    assert float(base["test top-1 sd"]) == pytest.approx(7.0710678)
    assert (base["train top-1"], base["train top-1 sd"]) == ("5.0", "0.0")
    assert float(narrow["minus base value"]) == pytest.approx(-25)
    assert float(narrow["minus base low"]) < -25 < float(narrow["minus base high"])
    assert base["minus base value"] == ""
    assert (float(base["parameters, M"]), float(base["in convolutions, M"])) == (2.0, 0.5)
    assert [float(narrow[f"paper {key}"]) for key in ("train top-1", "val top-1", "val top-5")] == [40.3, 41.7, 18.8]
    assert [float(base[f"paper ensemble of five {key}"]) for key in ("top-1", "top-5", "test top-5")] == [
        38.1, 16.4, 16.4,
    ]  # fmt: skip
    assert narrow["paper ensemble of five top-1"] == base["paper test top-5"] == ""
    marked = (folder / "table.md").read_text().splitlines()
    assert len(marked) == 5
    assert marked[3].startswith("| alexnet, fc_2048 | 2 |")


def test_the_report_shows_the_table_and_decides_claim_20(sweep):
    collect(sweep, "convlens task=collect sweep=here")
    result = json.loads((sweep / "results/collect/result.json").read_text())
    assert [(claim["number"], claim["about"]) for claim in result["claims"]] == [(20, "parts")]
    table, paper = result["tables"]
    own = {row[0]: row[4:6] for row in paper["rows"] if row[4]}
    assert own["AlexNet, the paper's replication, 1 net"] == ["mean of 2", "55.00"]
    assert own["Krizhevsky et al. 2012, 5 nets"][0] == "2"
    assert set(own) == {
        *("AlexNet, the paper's replication, 1 net", "Krizhevsky et al. 2012, 5 nets"),
        *("ZFNet, 1 net", "ZFNet, 5 nets (a)"),
    }
    assert paper["title"] == "Table 2, error in % (parts)"
    narrow = dict(zip(table["columns"], table["rows"][1], strict=True))
    assert (narrow["network"], narrow["seeds"], narrow["test top-1"]) == ("alexnet, fc_2048", "2", "30.0 ± 7.1")
    assert narrow["minus base"].startswith("-25.0 (")
    assert narrow["paper: train, val, top-5"] == "40.3, 41.7, 18.8"
    assert "6 finished runs, 2 seeds each" in result["text"]
    assert "Not in the table: 1 failed" in result["text"]
    assert result["command"] == "convlens task=collect sweep=here"


def test_networks_that_were_tested_on_other_images_are_not_subtracted(sweep):
    for seed in (0, 1):
        make_run(sweep / f"other{seed}", seed, 0.1, images="others", ablation="wide")
    rows = {row["network"]: row for row in collect(sweep)}
    assert rows["zfnet, wide"]["test top-1"] == pytest.approx(10)
    assert rows["zfnet, wide"]["minus base value"] is None


def test_each_data_set_has_its_claims_and_its_picture(sweep):
    for model, error in (("alexnet", 0.2), ("zfnet", 0.6)):
        for seed in (0, 1):
            make_run(sweep / f"tiny-{model}-{seed}", seed, error, model=model, data="tiny_imagenet")
    collect(sweep)
    folder = sweep / "results/collect"
    result = json.loads((folder / "result.json").read_text())
    found = {claim["about"]: claim["estimate"].partition(" ")[0] for claim in result["claims"]}
    assert found == {"parts": "20.000", "tiny_imagenet": "-40.000"}
    assert [figure["file"] for figure in result["figures"]] == ["errors.png", "errors_2.png"]
    assert all((folder / figure["file"]).exists() for figure in result["figures"])


def test_a_damaged_run_costs_no_more_than_its_own_numbers(sweep):
    (sweep / "alexnet-none-0/results/test/probabilities.npz").write_bytes(b"PK cut short")
    (sweep / "zfnet-none-0/results/test/predictions.npz").unlink()
    rows = {row["network"]: row for row in collect(sweep)}
    assert rows.keys() == {"alexnet", "alexnet, fc_2048", "zfnet"}
    assert [rows[name]["ensemble top-1"] is None for name in rows] == [True, False, True]
    assert [rows[name]["test top-1"] for name in rows] == pytest.approx([55, 30, 35])


def test_a_table_that_was_made_is_not_made_again_until_another_run_is_finished(sweep):
    before = finished_runs(sweep)
    collect(sweep)
    note_collected(sweep, before, ["csv"])
    assert is_collected(sweep, ["csv"])
    make_run(sweep / "late", 2, 0.4)
    assert not is_collected(sweep, ["csv"])


def test_collecting_needs_a_folder_with_runs(refused, tmp_path):
    assert refused("task=collect").startswith("task=collect needs the folder of the runs")
    assert "there is no such folder" in refused("task=collect", "sweep=nowhere")
    (tmp_path / "empty").mkdir()
    assert "no finished training run below it (none at all)" in refused("task=collect", "sweep=empty")

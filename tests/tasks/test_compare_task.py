import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.runs.finished_runs import make_run as finished_run


@pytest.fixture
def make_run(tmp_path) -> Callable[..., Path]:
    """A run of 40 test images of 10 classes; the right class is at the given rank of the five best, 0 is absent."""

    def make(name: str, ranks: list[int], labels: np.ndarray | None = None, first: int = 0) -> Path:
        labels = np.arange(len(ranks)) % 10 if labels is None else labels
        top5 = np.stack([(labels + 1 + i) % 10 for i in range(5)], 1)
        for row, rank in enumerate(ranks):
            if rank:
                top5[row, rank - 1] = labels[row]
        folder = tmp_path / name / "results" / "test"
        folder.mkdir(parents=True)
        images = np.array([f"parts/{first + i}" for i in range(len(ranks))])
        np.savez(folder / "predictions.npz", labels=labels, top5=top5, images=images)
        (tmp_path / name / "run.json").write_text(json.dumps({"name": name.upper(), "status": "finished"}))
        return tmp_path / name

    return make


def test_two_runs_are_compared_image_by_image(convlens, make_run, tmp_path):
    make_run("a", [1] * 20 + [2] * 12 + [0] * 8)  # 50 % right at once, 80 % among five
    make_run("b", [1] * 30 + [2] * 2 + [0] * 8)
    outcome = convlens("task=compare", "task.run_dirs=[a,b]", "run_dir=out")
    assert (outcome.code, outcome.err) == (0, ""), outcome
    result = json.loads((tmp_path / "out/results/compare/result.json").read_text())
    (table,) = result["tables"]
    first, second = table["rows"]
    assert (first[0], first[1], first[3]) == ("top-1 error", "+25.00", f"{2 * 0.5**10:.2g}")  # 10 against 0 images
    assert (second[0], second[1], second[3]) == ("top-5 error", "+0.00", "1")
    assert table["title"] == "A minus B, percent points"
    assert "Both networks were tested on the same 40 images" in result["text"]
    assert "B is better" in result["text"]
    assert "top-1 error, A minus B: +25.00 points" in outcome.out
    assert "top-5 error, A minus B: +0.00 points" in outcome.out
    assert "can't tell which is better" in outcome.out
    assert json.loads((tmp_path / "out/run.json").read_text())["task"] == "compare"
    assert "1 and 1 runs (seeds): the interval covers the choice of test images, not of seeds" in result["text"]
    assert result["claims"] == []  # nothing says what networks they are


def test_the_better_one_may_be_the_first(convlens, make_run):
    make_run("a", [1] * 30 + [0] * 10)
    make_run("b", [1] * 20 + [0] * 20)
    assert "A minus B: -25.00 points" in (said := convlens("task=compare", "task.run_dirs=[a,b]").out)
    assert "A is better" in said


def test_runs_on_other_images_are_refused(refused, make_run):
    make_run("a", [1] * 40)
    make_run("b", [1] * 30)
    make_run("c", [1] * 40, labels=np.arange(40)[::-1] % 10)
    for other in "bc":
        said = refused("task=compare", f"task.run_dirs=[a,{other}]")
        assert said.startswith(f"a and {other} were tested on different images ")


def test_a_run_that_is_not_finished_is_refused(refused, make_run, tmp_path):
    make_run("a", [1] * 40)
    (tmp_path / "b").mkdir()
    assert refused("task=compare", "task.run_dirs=[a,b]") == (
        "no test predictions at b/results/test/predictions.npz: give the directory of a finished training run"
    )


def test_runs_tested_on_other_images_of_the_same_classes_are_not_paired(convlens, make_run):
    make_run("a", [1] * 40)
    make_run("b", [1] * 40, first=40)
    outcome = convlens("task=compare", "task.run_dirs=[a,b]", "run_dir=out")
    assert outcome.code == 2
    assert "a and b were tested on different images (40 and 40, or others)" in outcome.err


# ---- claim 20 ---------------------------------------------------------------------------------------------------


@pytest.fixture
def compared(convlens, tmp_path) -> Callable[..., dict]:
    """Compares finished runs, given by folder, seed, error and settings; gives the result."""

    def call(*runs: tuple) -> dict:
        for name, seed, error, settings in runs:
            finished_run(tmp_path / name, seed, error, **settings)
        names = ",".join(name for name, *_ in runs)
        outcome = convlens("task=compare", f"task.run_dirs=[{names}]", "run_dir=out")
        assert (outcome.code, outcome.err) == (0, ""), outcome
        return json.loads((tmp_path / "out/results/compare/result.json").read_text())

    return call


def runs(model: str, errors: list[float], **settings) -> list[tuple]:
    return [(f"{model}{seed}", seed, error, {"model": model, **settings}) for seed, error in enumerate(errors)]


ALEXNET, ZFNET = runs("alexnet", [0.6, 0.625, 0.6]), runs("zfnet", [0.2, 0.225, 0.2])


def test_three_seeds_of_both_networks_decide_claim_20(compared):
    result = compared(*ZFNET, *ALEXNET)  # in any order
    (claim,) = result["claims"]
    assert (claim["number"], claim["verdict"], claim["units"], claim["about"]) == (20, "supports", 3, "parts")
    assert claim["value"] == pytest.approx(40)
    assert claim["controls"]["top-5 error, points"].endswith("; paper 1.6")
    assert "three seeds of each network would decide" not in claim["controls"]
    assert result["title"] == "zfnet against alexnet"
    assert "zfnet minus alexnet: -40.00 points" in result["text"]
    assert "zfnet is better" in result["text"]
    assert "3 and 3 runs (seeds): the interval covers the choice of test images and of seeds" in result["text"]
    assert result["tables"][0]["columns"][3] == "p"


def test_one_seed_of_each_cannot_tell_and_says_what_would(compared):
    (claim,) = compared(ALEXNET[0], ZFNET[0])["claims"]
    assert (claim["verdict"], claim["units"], claim["value"]) == ("can't tell", 1, pytest.approx(40))
    assert claim["controls"]["three seeds of each network would decide"] == (
        "convlens -m model=alexnet,zfnet seed=0,1,2, then convlens task=compare task.run_dirs=[A0,A1,A2,Z0,Z1,Z2]"
    )


def test_two_seeds_of_each_decide_nothing(compared):
    result = compared(*ALEXNET[:2], *ZFNET[:2])
    assert result["claims"][0]["verdict"] == "can't tell"
    assert "can't tell which is better" in result["text"]


@pytest.mark.parametrize(
    "other",
    [
        runs("zfnet", [0.2], ablation="wide"),
        runs("zfnet", [0.2], **{"model.net.filters": {"conv1": {"kernel": 9}}}),
        runs("resnet", [0.2]),
    ],
)
def test_other_networks_decide_no_claim(compared, other):
    assert compared(ALEXNET[0], *other)["claims"] == []


def test_other_settings_are_named(compared):
    (claim,) = compared(ALEXNET[0], *runs("zfnet", [0.2], **{"recipe.max_epochs": 12, "model.net.width": 0.5}))[
        "claims"
    ]
    assert claim["controls"]["trained differently in"] == "model.net.width, recipe.max_epochs"


def test_runs_of_other_than_two_kinds_are_refused(refused, tmp_path):
    for name, seed, error, settings in (*ALEXNET, *ZFNET[:1], *runs("wide", [0.2])):
        finished_run(tmp_path / name, seed, error, **settings)
    assert refused("task=compare", "task.run_dirs=[alexnet0,alexnet1,alexnet2]") == (
        "task.run_dirs: 3 runs of 1 kinds (alexnet): give two runs, or runs of two kinds that differ only in the seed"
    )
    assert "of 3 kinds (alexnet; zfnet; wide)" in refused("task=compare", "task.run_dirs=[alexnet0,zfnet0,wide0]")
    said = refused("task=compare", "task.run_dirs=[alexnet0,alexnet0,zfnet0]")
    assert said.startswith("alexnet0 is a run of a seed that another run of the same settings has: give finished")

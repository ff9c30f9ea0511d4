import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from convlens.stats.paired import sign_test


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
    p = sign_test(0, 10)
    assert p == pytest.approx(2 * 0.5**10)
    assert (first[0], first[1], first[3]) == ("top-1 error", "+25.00", f"{p:.2g}")
    assert (second[0], second[1], second[3]) == ("top-5 error", "+0.00", "1")
    assert table["title"] == "A minus B, percent points"
    assert "Both networks were tested on the same 40 images" in result["text"]
    assert "B is better" in result["text"]
    assert "top-1 error, A minus B: +25.00 points" in outcome.out
    assert "top-5 error, A minus B: +0.00 points" in outcome.out
    assert "can't tell which is better" in outcome.out
    assert json.loads((tmp_path / "out/run.json").read_text())["task"] == "compare"


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

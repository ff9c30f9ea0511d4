import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convlens.report import write_report

pytestmark = pytest.mark.usefixtures("no_drawing")


@pytest.mark.parametrize("name", ["run.json", "config.yaml", "metrics.csv", "metrics.json", "results"])
def test_a_missing_file_is_said_and_the_rest_is_shown(study: Path, page: Callable[[Path], Any], name: str):
    gone = study / "zfnet" / name
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    found = page(write_report(study))
    assert found.row("alexnet")[5] == "14.0"
    if name in ("metrics.csv", "metrics.json"):
        assert f"zfnet/{name}: missing" in found.text
        assert "1 file or entry could not be read" in found.text
    if name == "config.yaml":
        assert "No configuration (config.yaml) was found." in found.text


@pytest.mark.parametrize("name", ["run.json", "metrics.csv", "metrics.json", "results/projections/result.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b"\xff\x00\xfe\n\x00", b'"a","b\n'])
def test_a_broken_file_is_said_and_the_rest_is_shown(
    study: Path, page: Callable[[Path], Any], name: str, content: bytes
):
    (study / "zfnet" / name).write_bytes(content)
    found = page(write_report(study))
    assert found.row("alexnet")[1] == "62,357,608"
    if name != "metrics.csv" or not content:
        assert f"zfnet/{name}: " in found.text
        assert found.find("h2", id="missing")


def test_a_broken_study_file_does_not_hide_the_runs(study: Path, page: Callable[[Path], Any]):
    (study / "study.json").write_text("{")
    found = page(write_report(study))
    assert found.row("zfnet")[5] == "12.3"
    assert "study.json: not JSON" in found.text


def test_empty_cells_and_nan_are_shown_for_what_they_are(study: Path, page: Callable[[Path], Any], write: Callable):
    write(study / "zfnet" / "metrics.csv", "epoch,train/top1_error,val/top1_error\n1,90,nan\n2,,80\n2,70,\n,1,1\n")
    write(study / "zfnet" / "metrics.json", '{"test/top1_error": NaN, "parameters": null}')
    found = page(write_report(study))
    # rows of one epoch are merged; epoch 2 has the lowest validation error that is a number
    assert found.row("zfnet")[1:8] == ["\N{EN DASH}", "70.0", "80.0", "\N{EN DASH}", "NaN", "\N{EN DASH}", "2 of 2"]
    assert "skipped 1 rows without a whole number in the column 'epoch'" in found.text


def test_a_network_without_a_test_error(study: Path, page: Callable[[Path], Any], write: Callable):
    for name in ("zfnet", "alexnet"):
        write(study / name / "metrics.json", {})
    found = page(write_report(study))
    assert "Not recorded by any run: training top-5 error, test top-1 error, test top-5 error." in found.text
    # the best epoch is read off metrics.csv
    assert found.row("zfnet") == ["zfnet", "\N{EN DASH}", "50.0", "40.2", "9.0", "2 of 3", "1 min 21 s"]


def test_a_study_without_any_number(study: Path, page: Callable[[Path], Any]):
    for name in ("zfnet", "alexnet"):
        shutil.rmtree(study / name)
    found = page(write_report(study))
    assert "zfnet: no such run directory" in found.text
    assert "No run trained a network or recorded an error." in found.text
    assert "No learning curves" in found.text
    assert "No run recorded a validation or test error." in found.text


@pytest.mark.parametrize("damage", ["missing", "text", "half", "outside"])
def test_a_broken_figure_leaves_its_place_empty(study: Path, page: Callable[[Path], Any], write: Callable, damage: str):
    result = study / "zfnet" / "results" / "projections" / "result.json"
    picture = result.parent / "epoch_003" / "conv1.png"
    if damage == "missing":
        picture.unlink()
    elif damage == "outside":
        result.write_text(result.read_text().replace("epoch_003/conv1.png", "../../../alexnet/../../secret.png"))
        shutil.copy(picture, study.parent / "secret.png")
    else:
        picture.write_bytes(b"no picture" if damage == "text" else picture.read_bytes()[:40])
    found = page(write_report(study))
    assert len([image for image in found.find("img") if "png" in image["src"]]) == 3
    assert "is missing or cannot be read." in found.text
    assert "1 file or entry could not be read" in found.text


@pytest.mark.parametrize(
    "result",
    [
        {"numbers": {"a": 1}, "figures": 3, "tables": ["x"]},
        {"tables": [{"title": "t", "columns": ["a", "b"], "rows": [[1], [1, 2, 3]]}, {"rows": None}]},
        {"numbers": [{"value": [1, 2]}, {"name": None, "value": "supported", "spread": [0, "x"]}], "order": "first"},
        {"figures": [{}], "title": 7, "text": None},
    ],
)
def test_odd_results_are_shown_as_far_as_they_go(
    study: Path, page: Callable[[Path], Any], write: Callable, result: dict
):
    write(study / "zfnet" / "results" / "odd" / "result.json", result)
    found = page(write_report(study))
    assert found.row("dead maps (%)")[1:] == ["4.2 ± 0.5", "4.2 ± 0.5"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def with_keys(*keys: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=dict.fromkeys(keys, json_values))


entries = st.lists(with_keys("name", "value", "unit", "spread", "file", "caption", "key", "title", "columns", "rows"))
anything = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("analysis", "title", "reproduces", "order", "text"), json_values),
        **dict.fromkeys(("numbers", "figures", "tables"), json_values | entries),
    },
)
parts = st.lists(with_keys("name", "command", "status", "seconds", "error", "traceback", "run"), max_size=3)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    about=with_keys("title", "command"),
    parts=json_values | parts,
    result=anything,
    metrics=json_values,
    run=json_values,
)
def test_no_json_breaks_the_report(
    tmp_path: Path, page: Callable[[Path], Any], about: dict, parts: Any, result: dict, metrics: Any, run: Any
):
    known = {"run": "a", "name": "a part", "seconds": 1}
    study = about | {"parts": [known, *parts] if isinstance(parts, list) else parts}
    for name, content in {
        "study.json": study,
        "a/run.json": run,
        "a/metrics.json": {"test/top1_error": metrics, "best_epoch": metrics, "parameters": metrics},
        "a/results/x/result.json": result,
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    page(write_report(tmp_path))

"""Files that convlens never writes: endless, looping, or no files at all; each is one line, none is waited for."""

import os
import signal

import pytest
from torch import nn

from convlens.analysis.galleries.array_store import read_gallery
from convlens.errors import DamagedError, InputError
from convlens.io.arrays import check_zip, read_array, read_arrays
from convlens.io.json_files import load_json, parse_json, write_json
from convlens.nets.weights import load_weights
from convlens.report.render import write_report
from convlens.runs.damage import damaged_files
from convlens.runs.predictions import read_predictions
from convlens.runs.record_file import TYPES, read_record
from convlens.runs.run_config import read_config, require_config
from convlens.runs.trust import trusted_config

DEEP = {"endless": "[" * 20_000, "deep": "[" * 200 + "]" * 200, "objects": '{"a": ' * 60 + "1" + "}" * 60}
HALF = '{"author": "\\ud800"}'
"""Half of a character, which no file can hold."""


@pytest.fixture(autouse=True)
def soon():
    """End a test that waits."""

    def stop(*_: object) -> None:
        raise TimeoutError("it waits")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def run(tmp_path):
    """A run of somebody else."""
    write_json(tmp_path / "run" / "run.json", {"task": "train", "status": "finished", "name": "a"})
    write_json(tmp_path / "run" / "metrics.json", {"test/top1_error": 3.0})
    net, data = {"_target_": "torch.nn.ReLU"}, {"_target_": "convlens.data.PartsImages"}
    write_json(tmp_path / "run" / "config.yaml", {"model": {"name": "x", "net": net}, "data": data})
    assert trusted_config(tmp_path / "run", False).model.name == "x"
    return tmp_path / "run"


@pytest.mark.parametrize("text", [*DEEP.values(), HALF, '{"\\uD83D": 1}'], ids=[*DEEP, "half", "half in a name"])
def test_json_that_cannot_be_written_again_is_damaged(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DamagedError, match=r"a.json is damaged \(") as caught:
        load_json(tmp_path / "a.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ['"\\ud83d\\ude00"', '"caf\\udce9"', "[" * 40 + "]" * 40])
def test_other_json_is_read(text):
    """A character in two halves, a byte of a file's name that is no UTF-8, and lists in lists that are few."""
    assert parse_json(text)


@pytest.mark.parametrize("name", ["run.json", "metrics.json", "results/x/result.json", "study.json"])
@pytest.mark.parametrize("text", [*DEEP.values(), HALF], ids=[*DEEP, "half"])
def test_a_report_is_written_of_a_run_with_such_a_file(run, name, text):
    (run / name).parent.mkdir(parents=True, exist_ok=True)
    (run / name).write_text(text)
    assert name in write_report(run).read_text()


CONFIGS = {
    "itself": "a: &a [*a]",
    "bomb": "a: &a [x]\nb: &b [*a, *a]",
    "date": "2020-01-01: x",
    "half": 'a: "\\ud800"',
    "number": f"a: 0x{'f' * 5000}",
    **{name: f"a: {text}" for name, text in DEEP.items()},
}


@pytest.mark.parametrize("text", CONFIGS.values(), ids=CONFIGS)
def test_a_configuration_that_is_none_is_one_line(run, text):
    (run / "config.yaml").write_text(text)
    with pytest.raises(InputError, match=r"config.yaml cannot be read"):
        trusted_config(run, False)


def test_a_report_is_written_of_a_run_with_such_a_configuration(run):
    (run / "config.yaml").write_text(CONFIGS["itself"])
    assert write_report(run).exists()


@pytest.mark.parametrize("old", [["a"], {"a": 1}, 3, None])
def test_an_old_name_may_be_anything(run, old):
    write_json(run / "config.yaml", {"model": {"_target_": old}})
    assert require_config(run)["model"] == {"_target_": old}


@pytest.mark.parametrize("value", [None, 3, "x", [], {}, [[1]], {"a": []}])
def test_entries_of_another_type_are_not_read(run, value):
    write_json(run / "run.json", dict.fromkeys(TYPES, value) | {"error": None})
    record = read_record(run)
    assert record.pop("error") is None
    assert all(isinstance(entry, TYPES[name]) for name, entry in record.items())
    assert set(record) < set(TYPES)
    assert write_report(run).exists()


# ---- pipes and loops --------------------------------------------------------------------------------------------

FILES = ["config.yaml", "metrics.csv", "metrics.json", "results/x/result.json", "results/x/a.png", "checkpoints/a.ckpt"]


@pytest.mark.parametrize("kind", ["pipe", "loop"])
@pytest.mark.parametrize("name", ["run.json", *FILES])
def test_a_pipe_or_a_loop_in_a_run_is_told(run, name, kind):
    figures = [{"file": "a.png", "caption": "a"}]
    write_json(run / "results/x/result.json", {"analysis": "x", "title": "x", "figures": figures, "text": "x"})
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(run / name)
    else:
        (run / name).symlink_to((run / name).name)
    with pytest.raises(InputError, match=rf"{name} (is no regular file|leads nowhere): if you made it"):
        trusted_config(run, False)
    assert read_record(run).get("task") == (None if name == "run.json" else "train")
    assert (read_config(run) is None) == (name == "config.yaml")
    assert damaged_files(run) == []
    if name in FILES[:-1] and (name, kind) != ("results/x/result.json", "loop"):  # which is no result
        assert name in write_report(run).read_text()


@pytest.mark.parametrize("read", [load_json, read_array, read_arrays, check_zip], ids=lambda read: read.__name__)
def test_a_pipe_is_not_waited_for(tmp_path, read):
    os.mkfifo(tmp_path / "x")
    with pytest.raises(DamagedError, match="x is no regular file"):
        read(tmp_path / "x")


def test_a_pipe_for_weights_predictions_or_a_gallery_is_refused(tmp_path):
    (tmp_path / "results/test").mkdir(parents=True)
    for name in ("w.pth", "conv1.npz", "results/test/predictions.npz"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match=r"w\.pth"):
        load_weights(nn.ReLU(), tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"conv1\.npz is no regular file"):
        read_gallery(tmp_path, "conv1")
    with pytest.raises(InputError, match=r"predictions\.npz is no regular file"):
        read_predictions(tmp_path)

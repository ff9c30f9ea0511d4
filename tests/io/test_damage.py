"""Every kind of file that is kept: whatever byte is changed and wherever it is cut short, that is told or harmless."""

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convlens import nets
from convlens.errors import DamagedError
from convlens.io import arrays
from convlens.io.arrays import check_array, read_array, read_arrays, seal, write_array, write_arrays
from convlens.io.file_states import changed_files, file_states
from convlens.io.json_files import load_json, write_json

ARRAY = np.arange(60, dtype=np.float32).reshape(3, 20) ** 2
VALUE = {"error": 18.25, "name": "zfnet, ä", "runs": [1, None, {"a": -0.5}], "big": 10**30, "nan": float("inf")}


def write_checkpoint(path: Path) -> None:
    torch.save({"state_dict": {"w": torch.from_numpy(ARRAY)}, "epoch": 3}, path)


def read_checkpoint(path: Path) -> object:
    state = nets.weights.read_checkpoint(path)
    return [state["state_dict"]["w"].tolist(), state["epoch"]]


KINDS: dict[str, tuple[Callable[[Path], object], Callable[[Path], object]]] = {
    "a.json": (lambda path: write_json(path, VALUE), load_json),
    "a.npy": (lambda path: write_array(path, ARRAY), lambda path: read_array(path).tolist()),
    "mapped.npy": (lambda path: write_array(path, ARRAY), lambda path: read_array(path, "r").tolist()),
    "a.npz": (lambda path: write_arrays(path, {"a": ARRAY}), lambda path: read_arrays(path)["a"].tolist()),
    "a.ckpt": (write_checkpoint, read_checkpoint),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    for name, (write, _) in KINDS.items():
        write(folder / name)
    return {name: (folder / name).read_bytes() for name in KINDS}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("scratch")


def read_or_told(path: Path, content: bytes, read: Callable[[Path], object]) -> object:
    """What is read from a file with this content; a text if the reader says that it is damaged."""
    path.write_bytes(content)
    arrays._checked.clear()  # the file's size and time may be those of an earlier example
    try:
        return read(path)
    except DamagedError as error:
        message = str(error)
    assert str(path) in message
    assert "\n" not in message
    return "damaged"


@pytest.mark.parametrize("name", KINDS)
def test_a_whole_file_is_read(name, whole, scratch):
    assert read_or_told(scratch / name, whole[name], KINDS[name][1]) != "damaged"


@pytest.mark.parametrize("name", KINDS)
@given(data=st.data())
def test_a_changed_bit_is_told_or_changes_nothing(name, whole, scratch, data):
    content, read = bytearray(whole[name]), KINDS[name][1]
    expected = read_or_told(scratch / name, whole[name], read)
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    found = read_or_told(scratch / name, bytes(content), read)
    if name.endswith("json") and isinstance(found, dict):
        # The name of the checksum's entry may be what was changed.
        found = {key: value for key, value in found.items() if key in VALUE}
    assert found in (expected, "damaged")


@pytest.mark.parametrize("name", KINDS)
@given(data=st.data())
def test_a_file_that_is_cut_short_is_told(name, whole, scratch, data):
    length = data.draw(st.integers(0, len(whole[name]) - 2))  # JSON ends with a newline
    found = read_or_told(scratch / name, whole[name][:length], KINDS[name][1])
    unsealed = name.endswith("npy") and length == len(whole[name]) - arrays._CHECKSUM.size
    assert found == (ARRAY.tolist() if unsealed else "damaged")


@pytest.mark.parametrize("method", [9, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, 93, 99])
def test_an_entry_that_names_another_compression_is_told(method, whole, scratch):
    content = bytearray(whole["a.npz"])
    directory = content.index(b"PK\x01\x02")
    content[directory + 10] = method  # bz2 raises an OSError without a number
    assert read_or_told(scratch / "a.npz", bytes(content), KINDS["a.npz"][1]) == "damaged"


def test_numpy_reads_what_has_a_checksum(tmp_path):
    write_array(tmp_path / "a.npy", ARRAY)
    assert np.array_equal(np.load(tmp_path / "a.npy"), ARRAY)
    assert np.array_equal(np.load(tmp_path / "a.npy", mmap_mode="r"), ARRAY)
    assert json.dumps(VALUE)  # what is written is plain JSON


def test_an_array_without_a_checksum_is_read(tmp_path):
    np.save(tmp_path / "a.npy", ARRAY)
    assert np.array_equal(read_array(tmp_path / "a.npy"), ARRAY)


def test_sealing_twice_is_sealing_once(tmp_path):
    path = write_array(tmp_path / "a.npy", ARRAY)
    before = path.read_bytes()
    seal(path)
    assert path.read_bytes() == before


def test_a_large_array_is_read_for_its_check_only_if_its_time_has_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "LARGE", 10)
    path = write_array(tmp_path / "a.npy", ARRAY)
    assert not (tmp_path / "a.npy.checked").exists()  # of the temporary name: it is noted at the first check
    check_array(path)
    time = path.stat().st_mtime_ns
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(time, time))
    arrays._checked.clear()
    check_array(path)
    os.utime(path, ns=(time, time + 1))
    with pytest.raises(DamagedError, match="not as it was written"):
        check_array(path)


def test_pickled_objects_are_not_read(tmp_path):
    objects = np.array([{"a": 1}], dtype=object)
    np.save(tmp_path / "a.npy", objects)
    np.savez(tmp_path / "a.npz", a=objects)
    for read, name in ((read_array, "a.npy"), (read_arrays, "a.npz")):
        with pytest.raises(DamagedError, match=r"\(it holds pickled objects, which are not read\)"):
            read(tmp_path / name)


def test_states_tell_what_was_changed_and_not_what_was_removed(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
    write_array(tmp_path / "d.npy", ARRAY)
    states = json.loads(json.dumps(file_states(tmp_path, ["a", "b", "c", "d.npy", "missing"])))
    assert changed_files(tmp_path, states) == []
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").unlink()
    content = io.BytesIO((tmp_path / "d.npy").read_bytes()).getvalue()
    (tmp_path / "d.npy").write_bytes(content[:-1])
    assert changed_files(tmp_path, states) == ["a", "d.npy"]
    assert changed_files(tmp_path, None) == []

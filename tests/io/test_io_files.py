import errno
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convlens.errors import InputError
from convlens.figures.png import save_png
from convlens.io.arrays import write_arrays
from convlens.io.atomic import HOST, remove_partials, replacing, write_bytes
from convlens.io.json_files import load_json, write_json

WRITERS = {
    "json": lambda path: write_json(path, {"a": 1}),
    "bytes": lambda path: write_bytes(path, b"new"),
    "arrays": lambda path: write_arrays(path, {"a": np.zeros(3)}),
    "picture": lambda path: save_png(Image.new("RGB", (4, 4)), path.with_suffix(".png")),
}


def full_disk(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


def everything_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_written_file_has_its_content_and_nothing_else_is_left(tmp_path):
    write_bytes(tmp_path / "deep" / "a.bin", b"\x00\x01")
    write_json(tmp_path / "deep" / "b.json", {"ä": [1, None]})
    assert everything_in(tmp_path / "deep") == {
        "a.bin": b"\x00\x01",
        "b.json": '{\n  "ä": [\n    1,\n    null\n  ],\n  "checksum": "f316cd95b0b28ab6"\n}\n'.encode(),
    }


def test_the_old_file_is_there_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with replacing(path) as partial:
        partial.write_bytes(b"ne")
        assert path.read_bytes() == b"old"
        partial.write_bytes(b"new")
    assert everything_in(tmp_path) == {"a": b"new"}


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), OSError(errno.ENOENT, "none")])
def test_an_exception_comes_through_and_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def write() -> None:
        with replacing(path) as partial:
            partial.write_bytes(b"half")
            raise error

    with pytest.raises(type(error)) as caught:
        write()
    assert caught.value is error
    assert caught.value.__cause__ is None
    assert everything_in(tmp_path) == {"a": b"old"}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("moment", ["rename", "folder"])
def test_a_full_disk_is_one_line_with_the_folder_and_leaves_nothing_half_written(tmp_path, monkeypatch, kind, moment):
    folder = tmp_path / "results"
    if moment == "rename":
        folder.mkdir()
        monkeypatch.setattr(os, "replace", full_disk)
    else:
        monkeypatch.setattr(Path, "mkdir", full_disk)
    with pytest.raises(InputError, match="the disk is full while writing to") as caught:
        WRITERS[kind](folder / "x.json")
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "MB free" in str(caught.value)
    assert list(tmp_path.rglob("*.*")) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_while_writing_keeps_the_old_file(tmp_path, monkeypatch, code):
    path = tmp_path / "metrics.json"
    write_json(path, {"old": 1})

    def half(self, content):
        with self.open("wb") as file:
            file.write(content[:3])
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(InputError, match="choose another run_dir"):
        write_json(path, {"new": 2})
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.json"]
    assert load_json(path) == {"old": 1}


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path):
    (tmp_path / "deep").mkdir()
    here = f"{HOST}-"
    kept = [f".a.json.{here}1.partial", f".b.{here}{os.getpid()}.partial", f"c.{here}99.partial", ".d.partial"]
    kept += [f".e.{here}99x.partial", ".of-another-host.other-4194303.partial", ".of.an.older.version.4194303.partial"]
    kept += [f".f.npz.{here}4194304999.partial"]
    for name in [*kept, f".g.{here}4194303.partial"]:
        (tmp_path / "deep" / name).touch()
    remove_partials(tmp_path)
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == sorted(kept)
    remove_partials(tmp_path / "missing")

"""Files among images that are none: counted and named, and never waited for."""

import logging
import os
import socket
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convlens.data.cache.split_rows import handle_unreadable
from convlens.data.cache.store import cache_images
from convlens.data.sources.image_folder import ImageFolder
from convlens.errors import InputError
from convlens.runs.foreign_warnings import shorten_warnings


def png_of(side: int) -> bytes:
    """The beginning of a file whose picture would have `side` squared pixels."""
    head = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 100) + b"IDAT"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of pictures, and in the first what is no picture but is called as one."""
    for name in ("first", "second"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(4):
            picture = np.full((20, 20, 3), 40 * number, np.uint8)
            Image.fromarray(picture).save(tmp_path / "images" / name / f"{number}.png")
    first = tmp_path / "images" / "first"
    os.mkfifo(first / "pipe.jpg")
    monkeypatch.chdir(first)  # the path of a socket is short
    socket.socket(socket.AF_UNIX).bind("socket.jpg")
    for device in ("zero", "null", "stdin"):
        (first / f"{device}.jpg").symlink_to(f"/dev/{device}")
    (first / "nowhere.jpg").symlink_to("nothing")
    (first / "loop.jpg").symlink_to("loop.jpg")
    (first / "folder.jpg").mkdir()
    (first / "album.jpg").mkdir()
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(first / "album.jpg" / "inside.png")
    (first / "empty.jpg").touch()
    (first / "text.png").write_text("no picture")
    (first / "bomb.png").write_bytes(png_of(60000))
    (first / "cut.png").write_bytes((first / "1.png").read_bytes()[:60])
    return tmp_path


REASONS = {
    "pipe.jpg": "no regular file",
    "socket.jpg": "no regular file",
    "zero.jpg": "no regular file",
    "null.jpg": "no regular file",
    "nowhere.jpg": "No such file or directory",
    "loop.jpg": "Too many levels of symbolic links",
    "folder.jpg": "a folder",
    "empty.jpg": "empty file",
    "text.png": "not an image",
    "bomb.png": "exceeds limit of",
    "cut.png": "",
}


def test_what_is_no_image_is_counted_and_named_and_the_others_are_read(folder, caplog):
    (folder / "images" / "first" / "stdin.jpg").unlink()
    index = ImageFolder(folder / "images")._index_all()
    assert "first/album.jpg/inside.png" in index.names  # a folder that is only called as an image
    cache = cache_images(index, 16, folder / "cache")
    found = {Path(index.names[row]).name: reason for row, reason in cache.unreadable.items()}
    assert found.keys() == REASONS.keys()
    for name, reason in REASONS.items():
        assert reason in found[name], name
        assert "\n" not in found[name]
    handle_unreadable(cache, "skip")
    assert "11 of 20 images of images are unreadable: first/bomb.png (" in caplog.messages[-1]
    with pytest.raises(InputError, match="11 of 20 images of images are unreadable") as error:
        handle_unreadable(cache, "fatal")
    assert "\n" not in str(error.value)


def test_a_link_to_the_terminal_is_no_image(folder):
    index = ImageFolder(folder / "images")._index_all()
    row = index.names.index("first/stdin.jpg")
    if not Path("/dev/stdin").is_file():  # a file may be the input of this process
        assert index.read([row], 16).unreadable == {0: "no regular file"}


def test_warnings_of_another_library_are_one_line_each_place(caplog):
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("always")
        shorten_warnings()
        for number in range(50):
            warnings.warn(f"picture {number}\nis odd " + "very " * 100)
        warnings.warn("another place", DeprecationWarning)
    assert [message.partition(" (")[0][:16] for message in caplog.messages] == ["picture 0 is odd", "another place"]
    assert not any("\n" in message or len(message) > 300 for message in caplog.messages)


def test_pictures_that_are_almost_too_large_are_one_warning(folder, caplog):
    for number in range(5):  # Pillow warns from 89 million pixels on
        (folder / "images" / "first" / f"large{number}.png").write_bytes(png_of(10000 + number))
    index = ImageFolder(folder / "images")._index_all()
    rows = [row for row, name in enumerate(index.names) if "large" in name]
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("default")
        shorten_warnings()
        assert len(index.read(rows, 16).unreadable) == 5
    assert len(caplog.messages) == 1
    assert "could be decompression bomb" in caplog.messages[0]

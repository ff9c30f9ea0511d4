"""Against a server of our own, in a thread; nothing here asks the network."""

import hashlib
import re
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from convlens.data.download.fetch import fetch
from convlens.errors import InputError

CONTENT = np.random.default_rng(0).bytes(3_000_000)
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"


class Server(ThreadingHTTPServer):
    """What it does wrong, and which ranges it was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []
        self.knows_ranges, self.shifted, self.tells_length = True, 0, True
        self.cut_after: int | None = None
        self.code = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/data.zip"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        if self.server.code != 200:
            self.send_error(self.server.code)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and self.server.knows_ranges else 0
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            start += self.server.shifted
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        body = CONTENT[start:]
        if self.server.tells_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut, self.server.cut_after = self.server.cut_after, None
        self.wfile.write(body[:cut])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def message(call) -> str:
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("checksum", [MD5, f"sha256:{hashlib.sha256(CONTENT).hexdigest()}", None])
@pytest.mark.parametrize("tells_length", [True, False])
def test_a_file_is_fetched_into_a_new_folder(server, tmp_path, checksum, tells_length):
    server.tells_length = tells_length
    path = fetch(server.url, tmp_path / "new" / "data.zip", checksum)
    assert path.read_bytes() == CONTENT
    assert [file.name for file in path.parent.iterdir()] == ["data.zip"]
    assert server.ranges == [None]


def test_what_is_there_is_not_fetched_again_and_never_replaced(server, tmp_path):
    path = tmp_path / "data.zip"
    path.write_bytes(CONTENT)
    fetch(server.url, path, MD5)
    assert server.ranges == []
    path.write_bytes(CONTENT[:-1])
    fetch(server.url, path)  # without a published checksum
    with pytest.raises(InputError, match="move it, to have it downloaded again"):
        fetch(server.url, path, MD5)
    assert path.read_bytes() == CONTENT[:-1]
    assert server.ranges == []


def test_a_cut_connection_is_said_and_the_next_call_asks_for_the_rest(server, tmp_path):
    server.cut_after = 1_200_000
    path = tmp_path / "data.zip"
    said = message(lambda: fetch(server.url, path, MD5))
    assert "the connection ended after 1,200,000 of 3,000,000 bytes; the same command continues from the" in said
    assert [file.name for file in tmp_path.iterdir()] == ["data.zip.part"]
    assert fetch(server.url, path, MD5).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1200000-"]
    assert [file.name for file in tmp_path.iterdir()] == ["data.zip"]


@pytest.mark.parametrize("wrong", ["no ranges", "another range"])
def test_a_server_that_does_not_send_the_rest_is_asked_for_all(server, tmp_path, wrong):
    server.knows_ranges, server.shifted = wrong != "no ranges", 5
    (tmp_path / "data.zip.part").write_bytes(CONTENT[:1000])
    assert fetch(server.url, tmp_path / "data.zip", MD5).read_bytes() == CONTENT
    assert server.ranges == (["bytes=1000-"] if wrong == "no ranges" else ["bytes=1000-", None])


@pytest.mark.parametrize(("length", "asked"), [(0, ["bytes=3000000-"]), (7, ["bytes=3000007-", None])])
def test_a_part_that_is_whole_is_checked_and_a_longer_one_begun_anew(server, tmp_path, length, asked):
    (tmp_path / "data.zip.part").write_bytes(CONTENT + bytes(length))
    assert fetch(server.url, tmp_path / "data.zip", MD5).read_bytes() == CONTENT
    assert server.ranges == asked


def test_what_has_another_checksum_is_removed(server, tmp_path):
    (tmp_path / "data.zip.part").write_bytes(b"something else")
    said = message(lambda: fetch(server.url, tmp_path / "data.zip", MD5))
    assert said.startswith(f"{server.url}: the file has checksum md5:")
    assert f"instead of {MD5} and was removed: try again later" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("code", "said"), [(404, "404 (Not Found)"), (503, "503 (Service Unavailable)")])
def test_an_answer_that_is_an_error_is_named_and_a_part_is_kept(server, tmp_path, code, said):
    server.code = code
    path = tmp_path / "data.zip"
    assert message(lambda: fetch(server.url, path)) == f"{server.url} cannot be downloaded: the server answers {said}"
    assert not list(tmp_path.iterdir())
    (tmp_path / "data.zip.part").write_bytes(CONTENT[:9])
    message(lambda: fetch(server.url, path))
    assert (tmp_path / "data.zip.part").read_bytes() == CONTENT[:9]


def test_nobody_answers(server, tmp_path):
    server.shutdown()
    server.server_close()
    assert f"{server.url}: no connection (" in message(lambda: fetch(server.url, tmp_path / "data.zip"))
    assert "starts with http" in message(lambda: fetch("file:///etc/passwd", tmp_path / "data.zip"))
    assert not list(tmp_path.iterdir())


def test_a_disk_without_room_is_said_before_anything_is_written(server, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    said = message(lambda: fetch(server.url, tmp_path / "data.zip", MD5))
    assert said == (
        f"no room in {tmp_path}: 3,000,000 more are needed and 1,000 bytes are free; "
        "make room or set data_dir to a larger disk"
    )
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_said(server, tmp_path):
    Path(tmp_path / "file").touch()
    assert "cannot be written" in message(lambda: fetch(server.url, tmp_path / "file" / "data.zip"))

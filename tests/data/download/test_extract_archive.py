import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from convlens.data.download.extract import extract_archive
from convlens.errors import InputError

Make = Callable[..., Path]


def message(call) -> str:
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def tar_of(path: Path, *entries: tuple[str, str, str]) -> Path:
    """Entries of (name, kind, content or target)."""
    kinds = {
        "file": tarfile.REGTYPE, "folder": tarfile.DIRTYPE, "link": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE,
        "device": tarfile.CHRTYPE, "pipe": tarfile.FIFOTYPE,
    }  # fmt: skip
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, kind, content in entries:
            info = tarfile.TarInfo(name)
            info.type = kinds[kind]
            if kind in ("link", "hard"):
                info.linkname = content
            else:
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content.encode()))
    return path


def zip_of(path: Path, *entries: tuple[str, str, str]) -> Path:
    modes = {"file": stat.S_IFREG | 0o644, "folder": stat.S_IFDIR | 0o755, "link": stat.S_IFLNK | 0o777}
    modes |= {"pipe": stat.S_IFIFO, "device": stat.S_IFCHR}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, kind, content in entries:
            info = zipfile.ZipInfo(name + ("/" if kind == "folder" else ""))
            info.external_attr = modes[kind] << 16
            archive.writestr(info, content)
    return path


MAKERS = {"a.tar": tar_of, "a.tar.gz": tar_of, "a.zip": zip_of}


def contents(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", MAKERS)
def test_files_folders_and_links_inside_are_unpacked(tmp_path, name):
    entries = [
        ("set", "folder", ""),
        ("set/cat/1.jpg", "file", "one"),
        ("set/dog/2.jpg", "file", "two"),
    ]
    expected = {"set/cat/1.jpg": "one", "set/dog/2.jpg": "two"}
    if "tar" in name:  # a zip archive with links is refused
        entries += [("set/dog/latest", "link", "2.jpg"), ("set/dog/cat", "link", "../cat")]
        expected["set/dog/latest"] = "two"
    archive = MAKERS[name](tmp_path / name, *entries)
    extract_archive(archive, tmp_path / "out")
    assert contents(tmp_path / "out") == expected
    if "tar" in name:
        assert (tmp_path / "out/set/dog/cat/1.jpg").read_text() == "one"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "out"])


def test_a_hard_link_inside_is_a_file(tmp_path):
    archive = tar_of(tmp_path / "a.tar", ("d/1", "file", "one"), ("d/2", "hard", "d/1"))
    extract_archive(archive, tmp_path / "out")
    assert contents(tmp_path / "out") == {"d/1": "one", "d/2": "one"}


def test_a_folder_that_is_there_gets_what_it_lacks(tmp_path):
    (tmp_path / "out/set").mkdir(parents=True)
    (tmp_path / "out/set/mine").write_text("mine")
    extract_archive(zip_of(tmp_path / "a.zip", ("set/1", "file", "one"), ("more/2", "file", "two")), tmp_path / "out")
    assert contents(tmp_path / "out") == {"set/mine": "mine", "set/1": "one", "more/2": "two"}


OUTSIDE = [
    [("/tmp/convlens-evil", "file", "x")],
    [("../evil", "file", "x")],
    [("a/../../evil", "file", "x")],
    [("..\\evil", "file", "x")],
    [("C:/evil", "file", "x")],
    [("l", "link", "/etc/passwd")],
    [("l", "link", "../evil")],
    [("a/l", "link", "../../evil")],
    [("l", "link", ".."), ("l/evil", "file", "x")],
    [("l", "link", "."), ("l/evil", "file", "x")],  # inside, but through a link
    [("l", "link", "."), ("L/evil", "file", "x")],  # the same name on some systems
    [("a/b/l", "link", "../.."), ("m", "link", "a/b/l/../.."), ("n", "file", "x")],  # a detour
    [("l", "link", "f"), ("l", "file", "x")],
    [("pipe", "pipe", "")],
    [("null", "device", "")],
]
OUTSIDE_OF_TAR = [
    [("h", "hard", "/etc/passwd")],
    [("h", "hard", "../evil")],
    [("l", "link", "a"), ("h", "hard", "l/x")],
]


@pytest.mark.parametrize(
    ("name", "entries"),
    [(name, entries) for name in MAKERS for entries in OUTSIDE]
    + [(name, entries) for name in ("a.tar", "a.tar.gz") for entries in OUTSIDE_OF_TAR],
)
def test_what_points_outside_is_refused_by_name_and_nothing_stays(tmp_path, name, entries):
    folder = tmp_path / "deep" / "er"
    folder.mkdir(parents=True)
    (tmp_path / "deep" / "evil").write_text("untouched")
    archive = MAKERS[name](folder / name, ("good", "file", "good"), *entries)
    said = message(lambda: extract_archive(archive, folder / "out"))
    refused = {entry for entry, _, _ in entries} | {target for _, kind, target in entries if kind == "hard"}
    assert any(f"its entry {entry!r} " in said for entry in refused), said
    assert [path.name for path in folder.iterdir()] == [name]
    assert (tmp_path / "deep" / "evil").read_text() == "untouched"
    assert not Path("/tmp/convlens-evil").exists()


@pytest.mark.parametrize("name", MAKERS)
def test_a_damaged_archive_is_refused_and_nothing_stays(tmp_path, name):
    archive = MAKERS[name](tmp_path / name, *((f"f{i}", "file", f"{i}" * 5000) for i in range(50)))
    content = archive.read_bytes()
    archive.write_bytes(content[: len(content) // 2])
    said = message(lambda: extract_archive(archive, tmp_path / "out"))
    assert "damaged" in said
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_in_a_zip_with_another_sum_is_damaged(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("f", "stored as it is")
    content = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(content.replace(b"stored as it is", b"stored as it was", 1)[:-1])
    assert "damaged" in message(lambda: extract_archive(tmp_path / "a.zip", tmp_path / "out"))


def test_what_is_no_archive_is_said(tmp_path):
    (tmp_path / "a.zip").write_text("<html>not found</html>")
    assert "a.zip is no zip or tar archive" in message(lambda: extract_archive(tmp_path / "a.zip", tmp_path / "out"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]

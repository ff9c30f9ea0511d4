"""What is fetched ends where the sources look for it; the archives are made here, laid out as the real ones."""

import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convlens.data import Caltech101, Cifar10, ImageData, ImageNet, TinyImageNet, VocObjects
from convlens.data.download import catalog as archives
from convlens.errors import InputError


def picture(seed: int) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 20, 3), np.uint8)).save(content, "JPEG")
    return content.getvalue()


def tar(mode: str, **files: bytes) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode) as archive:
        for name, value in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(value)
            archive.addfile(info, io.BytesIO(value))
    return content.getvalue()


def zipped(**files: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, value in files.items():
            archive.writestr(name, value)
    return content.getvalue()


def voc_part(name: str, seed: int) -> bytes:
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    xml = f"<annotation><object><name>cat</name><difficult>0</difficult>{box}</object></annotation>".encode()
    below = "VOCdevkit/VOC2007"
    return tar(
        "w",
        **{
            f"{below}/ImageSets/Main/{name}.txt": f"00000{seed}\n".encode(),
            f"{below}/Annotations/00000{seed}.xml": xml,
            f"{below}/JPEGImages/00000{seed}.jpg": picture(seed),
        },
    )


def caltech_zip() -> bytes:
    images = {
        f"101_ObjectCategories/{c}/image_000{i}.jpg": picture(i + 9 * (c == "dog"))
        for c in ("cat", "dog")
        for i in range(4)
    }
    return zipped(
        **{
            "__MACOSX/._x": b"",
            "caltech-101/101_ObjectCategories.tar.gz": tar("w:gz", **images),
            "caltech-101/Annotations.tar": b"",
        }
    )


def tiny_zip() -> bytes:
    top = "tiny-imagenet-200"
    return zipped(
        **{
            f"{top}/wnids.txt": b"n01\n",
            f"{top}/words.txt": b"n01\tcat\n",
            f"{top}/train/n01/images/n01_0.JPEG": picture(0),
            f"{top}/val/images/val_0.JPEG": picture(1),
            f"{top}/val/val_annotations.txt": b"val_0.JPEG\tn01\t0\t0\t1\t1\n",
        }
    )


def cifar_tar() -> bytes:
    files = {}
    for i, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        batch = {"data": np.full((2, 3072), i, np.uint8), "labels": [i % 5, i % 5 + 5]}
        files[f"cifar-10-batches-py/{name}"] = pickle.dumps(batch)
    files["cifar-10-batches-py/batches.meta"] = pickle.dumps({"label_names": ["airplane"]})
    return tar("w:gz", **files)


@pytest.fixture
def served(monkeypatch) -> dict[str, bytes]:
    """What each address gives; those that were asked for are taken out."""
    files = {
        "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip": caltech_zip(),
        "http://cs231n.stanford.edu/tiny-imagenet-200.zip": tiny_zip(),
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz": cifar_tar(),
    }

    def fetch(url: str, path: Path, checksum: str | None = None) -> Path:
        path.write_bytes(files.pop(url))
        return path

    monkeypatch.setattr(archives, "fetch", fetch)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    return files


SOURCES = {
    "caltech": lambda root: Caltech101(root, train_per_class=2),
    "tiny": TinyImageNet,
    "cifar": Cifar10,
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_reads_what_it_fetched_and_nothing_else_is_left(served, tmp_path, name):
    root = tmp_path / "data" / "set"
    data = ImageData(SOURCES[name](root), cache_dir=tmp_path / "cache", image_size=8, val_share=0, download=True)
    assert data.num_classes == {"caltech": 2, "tiny": 1, "cifar": 10}[name]
    data.setup()
    assert len(data.dataset("train")) == {"caltech": 4, "tiny": 1, "cifar": 10}[name]
    left = [path.name for path in (root.parent if name == "tiny" else root).iterdir()]
    assert left == [{"caltech": "101_ObjectCategories", "tiny": "set", "cifar": "cifar-10-batches-py"}[name]]
    assert len(served) == 2
    served.clear()
    assert ImageData(SOURCES[name](root), cache_dir=tmp_path / "cache", download=True).num_classes  # not again


@pytest.mark.parametrize("name", SOURCES)
def test_an_archive_of_the_user_is_used_and_stays(served, tmp_path, name, monkeypatch):
    source = SOURCES[name](tmp_path / "data" / "set")
    path = tmp_path / "data" / ("" if name == "tiny" else "set") / source.archives[0].file
    path.parent.mkdir(parents=True)
    content = served[source.archives[0].url]
    path.write_bytes(content)
    monkeypatch.setattr(archives, "fetch", lambda url, path, checksum: path)
    source.download()
    assert path.read_bytes() == content


def test_both_archives_of_voc_2007_become_one_folder(tmp_path, monkeypatch):
    parts = {"trainval": voc_part("train", 1), "test": voc_part("test", 2)}
    monkeypatch.setattr(
        archives,
        "fetch",
        lambda url, path, _: (path.write_bytes(parts["test" if "test" in url else "trainval"]), path)[1],
    )
    source = VocObjects(tmp_path / "VOCdevkit", 2007)
    assert [archive.file for archive in source.archives] == ["VOCtrainval_06-Nov-2007.tar", "VOCtest_06-Nov-2007.tar"]
    source.download()
    folder = tmp_path / "VOCdevkit/VOC2007"
    assert sorted(path.name for path in (folder / "JPEGImages").iterdir()) == ["000001.jpg", "000002.jpg"]
    assert {"train.txt", "test.txt"} <= {path.name for path in (folder / "ImageSets/Main").iterdir()}
    assert list(source.split("train").image_index.names) == ["JPEGImages/000001.jpg"]


def test_an_archive_that_is_not_what_it_should_be_leaves_nothing_but_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "fetch", lambda url, path, _: (path.write_bytes(zipped(**{"../evil": b""})), path)[1])
    with pytest.raises(InputError, match=r"its entry '\.\./evil' would be written outside"):
        Caltech101(tmp_path / "c").download()
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["caltech-101.zip"]


def test_nothing_is_fetched_unless_it_is_asked_for_or_for_a_set_that_cannot_be(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "fetch", lambda *_: pytest.fail("fetched"))
    with pytest.raises(InputError, match=r"data\.download=true downloads it"):
        _ = ImageData(Caltech101(tmp_path), cache_dir=tmp_path).class_names
    for source in (TinyImageNet(tmp_path), VocObjects(tmp_path), Cifar10(tmp_path)):
        with pytest.raises(InputError, match=r"data\.download=true downloads it"):
            source.split("train")
    with pytest.raises(InputError) as caught:
        _ = ImageData(ImageNet(tmp_path), cache_dir=tmp_path, download=True).class_names
    assert "download=true" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_server_that_refuses_leaves_nothing(tmp_path, monkeypatch):
    def refuse(url: str, *_: object) -> Path:
        raise InputError(f"{url} cannot be fetched")

    monkeypatch.setattr(archives, "fetch", refuse)
    with pytest.raises(InputError, match="cannot be fetched"):
        Caltech101(tmp_path / "data").download()
    assert not list(tmp_path.iterdir())


def test_every_archive_has_a_checksum_but_the_one_that_has_none():
    known = [archives.CALTECH_101, archives.CALTECH_256, archives.CIFAR_10, archives.TINY_IMAGENET]
    known += [archives.voc_archives(2007), archives.voc_archives(2012)]
    without = [one.file for several in known for one in several if not one.checksum]
    assert without == ["tiny-imagenet-200.zip"]
    assert [one.target for one in archives.voc_archives(2012)] == ["VOC2012"]
    assert archives.voc_archives(1999) == ()

"""Metadata of shards: classes, sizes, mean image and files, read from a folder or an object store."""

import os
from pathlib import Path
from types import ModuleType
from typing import NotRequired, Protocol, TypedDict, runtime_checkable
from urllib.parse import urlparse

from convlens.data.shards.checks import INDEX_FILE, check_files, check_index, check_metadata, check_names
from convlens.errors import DamagedError, InputError
from convlens.io.arrays import file_crc
from convlens.io.inside import unfit
from convlens.io.json_files import parse_json, without_checksum

FORMAT_VERSION = 2
METADATA_FILE = "about.json"


class ShardMetadata(TypedDict):
    """Content of ``about.json``.

    Attributes:
        version: version of the format.
        size: side of the squares in pixels.
        class_names: names of the classes.
        counts: number of images in each split.
        shards: size in bytes of each file of each split.
        crc32: checksum of each file of each split; missing in shards of version 0.1.
        mean: mean image of the training images, 3 x size x size values.
    """

    version: int
    size: int
    class_names: list[str]
    counts: dict[str, int]
    shards: dict[str, dict[str, int]]
    crc32: NotRequired[dict[str, dict[str, int]]]
    mean: list[float]


@runtime_checkable
class Storage(Protocol):
    """A folder or a bucket that holds shards."""

    def read(self, name: str) -> str:
        """Return the text of a file.

        Raises:
            OSError: it cannot be read.
        """

    def sizes(self, split: str) -> dict[str, int]:
        """Return the size in bytes of each file of a split."""


class FolderStorage:
    """Shards in a folder."""

    def __init__(self, root: str) -> None:
        self.folder = Path(root).expanduser()

    def read(self, name: str) -> str:
        """Return the text of a file."""
        if reason := unfit(self.folder / name, self.folder):
            raise OSError(f"{name} {reason}")
        return (self.folder / name).read_text()

    def sizes(self, split: str) -> dict[str, int]:
        """Return the size in bytes of each file of a split."""
        return file_sizes(self.folder / split)


class BucketStorage:
    """Shards in a bucket of an S3 object store; AWS_ENDPOINT_URL names a server other than Amazon's."""

    def __init__(self, root: str) -> None:
        import boto3

        url = urlparse(root)
        self.bucket, self.prefix = url.netloc, url.path.lstrip("/")
        self.client = boto3.client("s3", endpoint_url=os.environ.get("AWS_ENDPOINT_URL"))

    def read(self, name: str) -> str:
        """Return the text of a file.

        Raises:
            OSError: it cannot be read.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            content = self.client.get_object(Bucket=self.bucket, Key=f"{self.prefix}/{name}")["Body"].read()
        except (BotoCoreError, ClientError) as error:
            raise OSError(str(error)) from error
        return str(content.decode())

    def sizes(self, split: str) -> dict[str, int]:
        """Return the size in bytes of each file of a split."""
        paginator = self.client.get_paginator("list_objects_v2")
        pages = paginator.paginate(Bucket=self.bucket, Prefix=f"{self.prefix}/{split}/")
        return {e["Key"].rpartition("/")[2]: int(e["Size"]) for page in pages for e in page.get("Contents", [])}


def read_metadata(root: str) -> ShardMetadata:
    """Read the metadata of shards and check that all files are complete.

    Args:
        root: a folder or ``s3://bucket/path``.

    Raises:
        InputError: there are no shards, or of another version, or a file is missing or has another size.
    """
    import_litdata()
    storage: Storage = BucketStorage(root) if "://" in root else FolderStorage(root)
    try:
        found = parse_json(storage.read(METADATA_FILE))
        if not isinstance(found, dict):
            raise ValueError(f"{METADATA_FILE} is damaged")
        metadata: ShardMetadata = without_checksum(Path(METADATA_FILE), found)  # type: ignore[assignment]
    except DamagedError as error:
        raise InputError(f"{root}: {error}: copy it again, or write the shards again") from None
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{root} holds no shards ({error}): make some with task=write_shards task.output=DIR"
        ) from None
    if (version := metadata.get("version")) != FORMAT_VERSION:
        raise InputError(
            f"{root} holds shards of version {version}, this convlens reads {FORMAT_VERSION}: write them again"
        )
    check_metadata(root, metadata)
    for split, sizes in metadata["shards"].items():
        check_names(root, [split, *sizes])
        found = storage.sizes(split)
        if missing := sorted(set(sizes) - set(found)):
            raise InputError(
                f"{root}/{split} lacks {len(missing)} of {len(sizes)} files, such as {missing[0]}: write them again"
            )
        if torn := [name for name, size in sizes.items() if found[name] != size]:
            name = torn[0]
            raise InputError(
                f"{root}/{split}/{name} has {found[name]} bytes, not {sizes[name]}: copy it again, or write it again"
            )
        if found:
            name = f"{split}/{INDEX_FILE}"
            try:
                index = storage.read(name)
            except (OSError, ValueError) as error:
                raise InputError(f"{root}/{name} cannot be read ({error}): write the shards again") from None
            check_index(root, split, index, sizes)
    if isinstance(storage, FolderStorage):
        written = (storage.folder / METADATA_FILE).stat().st_mtime
        check_files(storage.folder, written, metadata["shards"], metadata.get("crc32", {}))
    return metadata


def file_crcs(folder: Path) -> dict[str, int]:
    """Return the CRC-32 of each shard in a folder and of their index."""
    return {name: file_crc(folder / name, size) for name, size in file_sizes(folder).items()}


def file_sizes(folder: Path) -> dict[str, int]:
    """Return the size in bytes of the shards in a folder and of their index."""
    files = [file for file in folder.glob("*") if file.suffix == ".bin" or file.name == INDEX_FILE]
    return {file.name: file.stat().st_size for file in sorted(files)}


def import_litdata() -> ModuleType:
    """Return the module litdata.

    Raises:
        InputError: it is not installed.
    """
    try:
        import litdata
    except ImportError:
        raise InputError("shards need litdata: pip install 'convlens[shards]'") from None
    module: ModuleType = litdata
    return module

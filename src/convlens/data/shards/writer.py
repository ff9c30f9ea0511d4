"""Writes shards, and reads what is noted about them."""

import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np

from convlens.data.splits.image_index import Listing
from convlens.data.splits.split import Split
from convlens.errors import InputError
from convlens.io.atomic import write_json

VERSION = 2
ABOUT, DONE = "about.json", "done.json"


def write_shards(
    splits: dict[str, Split], class_names: Sequence[str], folder: Path, *, size: int, shard_bytes: str, workers: int
) -> dict[str, int]:
    """Pack splits, each in a folder of its own; a split of the same images that is packed already is left as it is.

    Args:
        splits: what to pack, in the order of the rows.
        class_names: of the labels.
        folder: where to.
        size: side of the squares in pixels.
        shard_bytes: size of a shard, such as 64MB.
        workers: processes that decode.

    Returns:
        Images that could not be read, by split.

    Raises:
        InputError: litdata is not installed, or other images are packed there.
    """
    litdata = need_litdata()
    images = {name: digest(split, class_names, size) for name, split in splits.items()}
    for name in splits:
        if (folder / name / DONE).exists() and _noted(folder / name).get("of") != images[name]:
            raise InputError(f"{folder / name} holds other images than asked for: remove it, or choose another folder")
    counts = {}
    for name, split in splits.items():
        target = folder / name
        if not (target / DONE).exists():
            inputs = list(enumerate(split.rows.tolist()))
            if inputs:
                litdata.optimize(
                    partial(read_row, listing=split.listing, size=size), inputs, str(target), chunk_bytes=shard_bytes,
                    num_workers=max(1, min(workers, len(inputs))), mode="overwrite", keep_data_ordered=True,
                    verbose=False, start_method="fork" if hasattr(os, "fork") else "spawn",
                )  # fmt: skip
            count = len(litdata.StreamingDataset(str(target))) if inputs else 0
            write_json(target / DONE, {"count": count, "of": images[name]})
        counts[name] = _noted(target)["count"]
    shards = {name: _sizes(folder / name) for name in splits}
    mean = mean_image(folder / "train", size)
    about = {"version": VERSION, "size": size, "class_names": list(class_names), "counts": counts, "shards": shards}
    write_json(folder / ABOUT, about | {"mean": mean.round(3).flatten().tolist()})
    return {name: len(split.rows) - counts[name] for name, split in splits.items()}


def digest(split: Split, class_names: Sequence[str], size: int) -> str:
    """What tells the images of a split, their order, classes and pixels apart from others'."""
    found = blake2b(f"{size} {split.listing.title} {split.listing.rule}".encode(), digest_size=16)
    found.update("\n".join(class_names).encode())
    states = list(split.listing.states())
    found.update("\n".join(f"{split.listing.names[row]} {states[row]}" for row in split.rows).encode())
    found.update(split.listing.labels[split.rows].tobytes())
    return found.hexdigest()


def _noted(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / DONE).read_text())
    except (OSError, ValueError):
        return {}


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of the shards and of their index."""
    files = [file for file in folder.glob("*") if file.suffix == ".bin" or file.name == "index.json"]
    return {file.name: file.stat().st_size for file in sorted(files)}


def read_row(given: tuple[int, int], *, listing: Listing, size: int) -> dict[str, bytes | int] | None:
    """The image of a row as an item of a shard; None if it cannot be read."""
    index, row = given
    block = listing.read([row], size)
    if block.unreadable:
        return None
    return {"image": block.images[0].tobytes(), "label": int(listing.labels[row]), "index": index}


def mean_image(folder: Path, size: int) -> np.ndarray:
    """The mean of the images in a folder of shards."""
    items = need_litdata().StreamingDataset(str(folder))
    total = np.zeros(3 * size * size)
    for item in items:
        total += np.frombuffer(item["image"], np.uint8)
    return total / max(len(items), 1)


def read_about(root: str) -> dict[str, Any]:
    """What is noted about the shards in a folder or an object store.

    Raises:
        InputError: there is nothing, or shards of another version, or one is missing or torn.
    """
    need_litdata()
    read, there = _store(root) if "://" in root else _folder(root)
    try:
        about = json.loads(read(ABOUT))
        if not isinstance(about, dict):
            raise ValueError(f"{ABOUT} is damaged")
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{root} holds no shards ({error}): make some with task=pack task.output=DIR") from None
    if about.get("version") != VERSION:
        raise InputError(
            f"{root} holds shards of version {about.get('version')}, this convlens reads {VERSION}: pack anew"
        )
    for split, sizes in about["shards"].items():
        found = there(split)
        if missing := sorted(set(sizes) - set(found)):
            raise InputError(
                f"{root}/{split} lacks {len(missing)} of {len(sizes)} files, such as {missing[0]}: pack anew"
            )
        if torn := [name for name, size in sizes.items() if found[name] != size]:
            one = torn[0]
            raise InputError(
                f"{root}/{split}/{one} has {found[one]} bytes, not {sizes[one]}: copy it again, or pack anew"
            )
    return about


def _folder(root: str) -> tuple[Callable[[str], str], Callable[[str], dict[str, int]]]:
    folder = Path(root).expanduser()
    return lambda name: (folder / name).read_text(), lambda split: _sizes(folder / split)


def _store(root: str) -> tuple[Callable[[str], str], Callable[[str], dict[str, int]]]:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    place = urlparse(root)
    prefix = place.path.lstrip("/")
    client = boto3.client("s3", endpoint_url=os.environ.get("AWS_ENDPOINT_URL"))

    def read(name: str) -> str:
        try:
            return client.get_object(Bucket=place.netloc, Key=f"{prefix}/{name}")["Body"].read().decode()
        except (BotoCoreError, ClientError) as error:
            raise OSError(str(error)) from error

    def there(split: str) -> dict[str, int]:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=place.netloc, Prefix=f"{prefix}/{split}/")
        return {e["Key"].rpartition("/")[2]: int(e["Size"]) for page in pages for e in page.get("Contents", [])}

    return read, there


def need_litdata() -> Any:
    """The library, where it is installed."""
    try:
        import litdata
    except ImportError:
        raise InputError("shards need litdata: pip install 'convlens[shards]'") from None
    return litdata

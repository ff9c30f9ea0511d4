"""Writes shards, and reads what is noted about them."""

import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np

from convlens.data.listing import Listing
from convlens.data.splits import Split
from convlens.errors import InputError
from convlens.files import write_json

VERSION = 1
ABOUT, DONE = "about.json", "done.json"


def write_shards(
    splits: dict[str, Split], class_names: Sequence[str], folder: Path, *, size: int, shard_bytes: str, workers: int
) -> dict[str, int]:
    """Pack splits, each in a folder of its own; a split that is packed already is left as it is.

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
        InputError: litdata is not installed.
    """
    litdata = _litdata()
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
            write_json(target / DONE, {"count": len(litdata.StreamingDataset(str(target))) if inputs else 0})
        counts[name] = json.loads((target / DONE).read_text())["count"]
    shards = {name: sorted(file.name for file in (folder / name).glob("*.bin")) for name in splits}
    mean = mean_image(folder / "train", size)
    about = {"version": VERSION, "size": size, "class_names": list(class_names), "counts": counts, "shards": shards}
    write_json(folder / ABOUT, about | {"mean": mean.round(3).flatten().tolist()})
    return {name: len(split.rows) - counts[name] for name, split in splits.items()}


def read_row(given: tuple[int, int], *, listing: Listing, size: int) -> dict[str, bytes | int] | None:
    """The image of a row as an item of a shard; None if it cannot be read."""
    index, row = given
    block = listing.read([row], size)
    if block.unreadable:
        return None
    return {"image": block.images[0].tobytes(), "label": int(listing.labels[row]), "index": index}


def mean_image(folder: Path, size: int) -> np.ndarray:
    """The mean of the images in a folder of shards."""
    items = _litdata().StreamingDataset(str(folder))
    total = np.zeros(3 * size * size)
    for item in items:
        total += np.frombuffer(item["image"], np.uint8)
    return total / max(len(items), 1)


def read_about(root: str) -> dict[str, Any]:
    """What is noted about the shards in a folder or an object store.

    Raises:
        InputError: there is nothing, or a shard is missing.
    """
    _litdata()
    read, there = _store(root) if "://" in root else _folder(root)
    try:
        about = json.loads(read(ABOUT))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{root} holds no shards ({error}): make some with task=pack task.output=DIR") from None
    for split, names in about.get("shards", {}).items():
        if missing := sorted(set(names) - there(split)):
            raise InputError(
                f"{root}/{split} lacks {len(missing)} of {len(names)} shards, such as {missing[0]}: pack anew"
            )
    return about


def _folder(root: str) -> tuple[Callable[[str], str], Callable[[str], set[str]]]:
    folder = Path(root).expanduser()
    return lambda name: (folder / name).read_text(), lambda split: {file.name for file in (folder / split).glob("*")}


def _store(root: str) -> tuple[Callable[[str], str], Callable[[str], set[str]]]:
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

    def there(split: str) -> set[str]:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=place.netloc, Prefix=f"{prefix}/{split}/")
        return {entry["Key"].rpartition("/")[2] for page in pages for entry in page.get("Contents", [])}

    return read, there


def _litdata() -> Any:
    try:
        import litdata
    except ImportError:
        raise InputError("shards need litdata: pip install 'convlens[shards]'") from None
    return litdata

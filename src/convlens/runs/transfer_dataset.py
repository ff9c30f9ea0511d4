"""The images of a data module as a data set for transfer probes: splits, pixels, and the source of their features."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import PurePosixPath

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from convlens.data import FixedSplit, ImageData, Protocol
from convlens.errors import InputError
from convlens.io.hashing import digest_lines
from convlens.runs.run_config import flat
from convlens.runs.subject import LoadedNetwork
from convlens.transfer.dataset import Submission, TransferDataset
from convlens.transfer.feature_store import weights_hash
from convlens.transfer.targets import Targets


def transfer_dataset(data: ImageData, multilabel_policy: str, average_precision: str) -> TransferDataset:
    """Return the images of a data module as a data set for probes.

    Args:
        data: the data module.
        multilabel_policy: see `Targets`.
        average_precision: see `Targets`.
    """
    protocol = data.protocol
    multilabel = None if protocol.targets is None else torch.from_numpy(protocol.targets)
    labels, num_classes = torch.from_numpy(protocol.labels), len(protocol.class_names)
    targets = Targets(labels, num_classes, multilabel, multilabel_policy, average_precision)

    def split(size: int | None, fold: int) -> tuple[Tensor, Tensor]:
        train, test = protocol.split(size, fold)
        return torch.from_numpy(train), torch.from_numpy(test)

    def pixels(rows: Sequence[int]) -> UInt8[np.ndarray, "n h w 3"]:
        return data.to_display(pool_images(data, rows)).permute(0, 2, 3, 1).numpy()

    return TransferDataset(
        protocol.title, protocol.class_names, targets, split, pixels, submission=_submission(protocol)
    )


def _submission(protocol: Protocol) -> Submission | None:
    """Return what an evaluation server asks for; an image's identifier is its file's name without folder and suffix."""
    found = protocol.usable_submission if isinstance(protocol, FixedSplit) else None
    if found is None:
        return None
    images = [PurePosixPath(protocol.names[row]).stem for row in found.images.tolist()]
    return Submission(found.part, torch.from_numpy(found.train), torch.from_numpy(found.images), images)


def pool_images(data: ImageData, rows: Sequence[int]) -> Float[Tensor, "n 3 c c"]:
    """Return images of the protocol's pool by their rows."""
    pool = data.pool_dataloader().dataset
    return torch.stack([pool[row][0] for row in rows])


def spread_images(data: ImageData, count: int) -> Float[Tensor, "n 3 c c"]:
    """Return images at equal distances in the pool, so that they are not of the first classes alone."""
    return pool_images(data, sorted({round(at) for at in np.linspace(0, len(data.protocol) - 1, count)}))


def split_digests(protocol: Protocol) -> Callable[[int | None, int], str | None]:
    """Return a cached function from images per class and fold to the split's digest; None if there is no such split."""

    @cache
    def digest(size: int | None, fold: int) -> str | None:
        try:
            return protocol.digest(size, fold)
        except InputError:
            return None

    return digest


def feature_source(
    network: LoadedNetwork, net: nn.Module, view: str, pool_size: int | None, pooling: str
) -> dict[str, object]:
    """Return everything that the features of the pool depend on.

    The keys are those of version 0.1, whose caches stay valid.

    Args:
        network: the network with its data.
        net: the network, or a copy with other weights.
        view: crops of the images, ``centre`` or ``ten``.
        pool_size: see `extract_features`.
        pooling: see `extract_features`.
    """
    data = network.data
    return {
        "network": network.name,
        "built": digest_lines(f"{key}={value}" for key, value in flat(network.built).items()),
        "weights": weights_hash(net),
        "images": [part.cache.folder.name for part in data.pool.parts],
        "image_size": data.image_size,
        "mean": digest_lines(f"{value:.6g}" for value in data.stored_mean.flatten().tolist()),
        "std": data.std.tolist(),
        "view": view,
        "cells": pool_size,
        "pooling": pooling,
    }

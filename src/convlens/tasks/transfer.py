"""``task=transfer``: linear probes on the features of each layer, for other images (section 5, Tables 4 to 7)."""

import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from omegaconf import DictConfig
from torch import Tensor, nn
from tqdm import tqdm

from convlens.analysis.galleries.sanity_checks import randomize_weights
from convlens.analysis.galleries.selected_units import default_layers, reached
from convlens.data import ImageData, Protocol, write_splits
from convlens.errors import InputError
from convlens.io.atomic import directory_lock
from convlens.nets import ConvNet
from convlens.runs.baselines import runs_of
from convlens.runs.launch import Processes
from convlens.runs.record import command_line, flat
from convlens.runs.subject import RANDOM_WEIGHTS, LoadedNetwork, load_network, open_run
from convlens.runs.typed_settings import check_number
from convlens.transfer.extract import extract_together
from convlens.transfer.feature_store import FeatureStore, names_hash, weights_hash
from convlens.transfer.features import check_pooling
from convlens.transfer.fit_cache import FitCache
from convlens.transfer.grid import Cell, Setting, sweep
from convlens.transfer.probes.fit import LOSSES
from convlens.transfer.probes.normalize import check_normalisation
from convlens.transfer.probes.regularization import C, check_c
from convlens.transfer.targets import Targets
from convlens.transfer.transfer_result import write_result

log = logging.getLogger(__name__)

TRAINED, UNTRAINED, RANDOM = "trained", "untrained", "random weights"


def run(
    cfg: DictConfig,
    overrides: list[str],
    *,
    layers: Sequence[str | int] | None,
    together: bool,
    images_per_class: Sequence[int | None],
    folds: Sequence[int],
    probes: Sequence[str],
    view: str,
    cells: int | None,
    pooling: str,
    normalise: str,
    c: C,
    inner_folds: int,
    exclusive: str,
    average_precision: str,
    random: bool,
    features: str | None,
    beside: Mapping[str, str | Sequence[str]],
    drawn: int,
) -> int:
    """Extract features, fit what is not fitted yet, write ``results/transfer_<data>``."""
    check_number("task.inner_folds", inner_folds, 2)
    check_number("task.drawn", drawn, 0)
    check_pooling(cells, pooling)
    for name, values in (("images_per_class", images_per_class), ("folds", folds), ("probes", probes)):
        if not values:
            raise InputError(f"task.{name} is empty: give at least one")
    if unknown := [probe for probe in probes if probe not in LOSSES]:
        raise InputError(f"task.probes={unknown[0]!r}: choose among {', '.join(LOSSES)}")
    c = dict(c) if isinstance(c, Mapping) else c
    check_c(c)
    check_normalisation(normalise)
    with (
        Processes(cfg) as processes,
        open_run(cfg, overrides, "transfer", shared=True) as run_dir,
        processes.of_one_mind(),
    ):
        subject = load_network(cfg, overrides)
        protocol = subject.data.protocol
        images_per_class = list(dict.fromkeys(protocol.number(size) for size in images_per_class))
        labels = torch.from_numpy(protocol.labels)
        targets = None if protocol.targets is None else torch.from_numpy(protocol.targets)
        truth = Targets(labels, len(protocol.class_names), targets, exclusive, average_precision)
        others = {name: runs_of(paths, truth, protocol) for name, paths in beside.items()}
        names = layer_names(subject.net, layers, subject.data.image_size)
        extracted = [*names, *layer_names(subject.net, None, subject.data.image_size)] if together else names
        wanted = [
            Cell(layer, probe, size, fold)
            for layer in names for fold in folds for size in images_per_class for probe in probes
        ]  # fmt: skip

        def split(size: int | None, fold: int) -> tuple[torch.Tensor, torch.Tensor]:
            train, test = protocol.split(size, fold)
            return torch.from_numpy(train), torch.from_numpy(test)

        for size in images_per_class:  # all of them before the work begins
            for fold in folds:
                split(size, fold)
        folder = run_dir / "results" / f"transfer_{slug(protocol.title)}"
        setting = Setting(normalise, c, inner_folds)
        own = UNTRAINED if subject.weights == RANDOM_WEIGHTS else TRAINED
        if own == UNTRAINED:
            log.warning("%s has random weights: give run=DIR or model.weights=FILE for a trained network", subject.name)
        nets = {own: subject.net}
        if random:
            nets[RANDOM] = randomize_weights(subject.net, some_images(subject.data, 64))
        kept = {}
        for weights, net in nets.items():
            given = features if weights == own else None
            store = _extracted(
                subject, net, list(dict.fromkeys(extracted)), view, cells, pooling, given, cfg, processes
            )
            if processes.process[0] > 0:
                continue  # one process fits
            about = {**store.about, "normalise": normalise, "c": c, "inner_folds": inner_folds, "exclusive": exclusive}
            if targets is not None:
                about["average_precision"] = average_precision
            kept[weights] = FitCache(folder / "cells" / weights.replace(" ", "_"), about, digests(protocol))
            missing = [cell for cell in wanted if cfg.force or cell not in kept[weights]]
            if len(missing) < len(wanted):
                log.info("%s: %d of %d fits are there", weights, len(wanted) - len(missing), len(wanted))
            if others_kept := kept[weights].others:
                log.info("%s: %d fits of other settings are kept, and shown by their command", weights, others_kept)
            _fit(kept[weights], store, truth, split, missing, setting, weights)
        if processes.process[0] > 0:
            return 0
        write_splits(protocol, folder / "splits", list(images_per_class), max(folds) + 1)
        with directory_lock(folder, wait=True):
            write_result(subject, kept, folder, others, c, drawn, command_line(overrides))
    log.info("results in %s", folder)
    return 0


def some_images(data: ImageData, count: int) -> Float[Tensor, "n 3 c c"]:
    """Images from the whole of the pool, not of its first class alone."""
    pool: Any = data.pool_dataloader().dataset
    return pool.__getitems__(sorted({round(at) for at in np.linspace(0, len(pool) - 1, count)}))[0]


def slug(title: str) -> str:
    """A name as a part of a file's."""
    return re.sub(r"[^a-z0-9.]+", "-", title.lower()).strip("-") or "data"


def digests(protocol: Protocol) -> Callable[[int | None, int], str | None]:
    """What tells the protocol's splits apart; None for one that it does not have."""

    @cache
    def digest(size: int | None, fold: int) -> str | None:
        try:
            return protocol.digest(size, fold)
        except InputError:
            return None

    return digest


def layer_names(net: nn.Module, layers: Sequence[str | int] | None, size: int) -> list[str]:
    """Names of layers; of our networks also their numbers, 1 to 7. By default what the paper transfers, or all stages.

    Raises:
        InputError: a number of no layer.
    """
    usual = stages(net, size)
    if isinstance(net, ConvNet):
        usual = [name for name, _ in net.named_children() if name.startswith(("layer", "fc"))][:-1]
    by_number = {int(name[-1]): name for name in usual} if isinstance(net, ConvNet) else {}
    by_number |= {int(name): name for name, _ in net.named_modules() if name.isdigit()}
    if unknown := [layer for layer in layers or [] if isinstance(layer, int) and layer not in by_number]:
        there = f"{', '.join(map(str, by_number))}, or a name" if by_number else "this network's layers have names"
        raise InputError(f"task.layers: there is no layer {unknown[0]}: {there}, such as {usual[-1]}")
    return [by_number[layer] if isinstance(layer, int) else layer for layer in layers or usual]


def stages(net: nn.Module, size: int) -> list[str]:
    """The blocks that hold a convolution, and those that are built around an attention, in the order of the network."""
    around = [name.rpartition(".")[0] for name, module in net.named_modules() if "Attention" in type(module).__name__]
    if not around:
        return default_layers(net, size)
    held = [name for name, module in net.named_modules() if isinstance(module, nn.Conv2d)]
    firsts = default_layers(net, size) if held else []
    order = [name for name, _ in net.named_modules()]
    return sorted({*firsts, *reached(net, [name for name in around if name], size)}, key=order.index)


def _extracted(
    subject: LoadedNetwork, net: nn.Module, layers: Sequence[str], view: str, cells: int | None, pooling: str,
    given: str | None, cfg: DictConfig, processes: Processes,
) -> FeatureStore:  # fmt: skip
    """The features of all images of the protocol."""
    data = subject.data
    about = {
        "network": subject.name, "built": names_hash([f"{key}={value}" for key, value in flat(subject.built).items()]),
        "weights": weights_hash(net), **_images(subject), "view": view, "cells": cells, "pooling": pooling,
    }  # fmt: skip
    name = f"{subject.name}-{names_hash([f'{key}={value}' for key, value in about.items()])[:16]}"
    count = len(data.protocol)
    store = FeatureStore(Path(given or Path(cfg.cache_dir, "features", name)).expanduser(), about, count)
    started = time.monotonic()
    missing = count - min(store.done(layer) for layer in layers)
    share = -(-missing // processes.process[1])
    with tqdm(desc="features", unit="image", total=share, disable=None) as bar:
        done = extract_together(
            store, processes.place(net), lambda at: (batch[0] for batch in data.pool_dataloader(view, at)), layers,
            processes.process, processes.together, cells=cells, pooling=pooling, step=bar.update,
        )  # fmt: skip
    if done:
        log.info("features of %d images, %d layers: %.0f s", done, len(layers), time.monotonic() - started)
    log.info("features in %s", store.folder)
    return store


def _images(subject: LoadedNetwork) -> dict[str, Any]:
    """What the features of the images depend on, beside the network."""
    data = subject.data
    return {
        "images": [part.packed.folder.name for part in data.pool.parts],
        "image_size": data.image_size,
        "mean": names_hash([f"{value:.6g}" for value in data.stored_mean.flatten().tolist()]),
        "std": data.std.tolist(),
    }


def _fit(
    kept: FitCache,
    store: FeatureStore,
    truth: Targets,
    split: Any,
    missing: Sequence[Cell],
    setting: Setting,
    weights: str,
) -> None:
    """Fit what is not fitted yet; each result is kept at once."""
    started = time.monotonic()
    with tqdm(desc=f"probes, {weights}", unit="fit", total=len(missing), disable=None) as bar:
        for outcome in sweep(store.read, truth, split, missing, setting):
            kept.put(outcome)
            bar.set_postfix_str(f"{outcome.cell.layer} {outcome.scored.score:.1f} %")
            bar.update()
    if missing:
        log.info("%s: %d fits in %.0f s", weights, len(missing), time.monotonic() - started)

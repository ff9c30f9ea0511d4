"""``task=transfer``: linear probes on the features of each layer, for other images (section 5, Tables 4 to 7)."""

import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Literal

from omegaconf import DictConfig
from torch import nn
from tqdm import tqdm

from convlens.data import write_splits
from convlens.errors import InputError
from convlens.io.atomic import remove_partials
from convlens.io.hashing import digest_lines
from convlens.io.locks import directory_lock
from convlens.ops.default_layers import layers_by_number, transfer_layers
from convlens.ops.randomize import randomize_weights
from convlens.runs.analysis import log_answer
from convlens.runs.baselines import read_baseline
from convlens.runs.foreign_results import check_results
from convlens.runs.launch import Processes
from convlens.runs.record import command_line
from convlens.runs.run_directory import open_run
from convlens.runs.subject import RANDOM_WEIGHTS, LoadedNetwork, load_network
from convlens.runs.transfer_dataset import feature_source, split_digests, spread_images, transfer_dataset
from convlens.runs.typed_settings import Above, AtLeast, Count, Positive
from convlens.stats.results import AnalysisResult
from convlens.transfer.dataset import TransferDataset
from convlens.transfer.extract import Extraction, extract_distributed
from convlens.transfer.feature_store import FeatureStore
from convlens.transfer.features import Pooling
from convlens.transfer.fit_cache import FitCache, fit_source
from convlens.transfer.grid import ProbeConfig, fit_grid
from convlens.transfer.probe_result import GridPoint
from convlens.transfer.probes.normalize import Normalization
from convlens.transfer.probes.regularization import Regularization
from convlens.transfer.score_table import Baseline, ScoreTable
from convlens.transfer.submission import submit
from convlens.transfer.targets import MultilabelPolicy
from convlens.transfer.transfer_result import TransferReport

log = logging.getLogger(__name__)

TRAINED, UNTRAINED, RANDOM = "trained", "untrained", "random weights"
STATISTICS_IMAGES = 64
"""Number of images that set the batch norm statistics of the randomized network."""

Probe = Literal["svm", "softmax", "sigmoid"]
PositiveNumber = Annotated[float, Above(0)]


@dataclass(frozen=True)
class Settings:
    """Settings of the task; ``conf/task/transfer.yaml`` has their values and what they mean."""

    layers: Sequence[str | int] | None
    extract_all_layers: bool
    images_per_class: Sequence[Positive | None]
    folds: Sequence[Count]
    probes: Sequence[Probe]
    view: Literal["centre", "ten"]
    pool_size: Positive | None
    pooling: Pooling
    normalize: Normalization
    C: PositiveNumber | Mapping[Probe, PositiveNumber] | None
    cv_folds: Annotated[int, AtLeast(2)]
    multilabel_policy: MultilabelPolicy
    average_precision: Literal["all", "eleven"]
    random_weights_control: bool
    features: str | None
    baselines: Mapping[str, str | Sequence[str]]
    num_examples: Count

    def __post_init__(self) -> None:
        for name in ("images_per_class", "folds", "probes"):
            if not getattr(self, name):
                raise InputError(f"task.{name} is empty: give at least one")

    @property
    def regularization(self) -> Regularization:
        """C of the probes."""
        return {str(name): C for name, C in self.C.items()} if isinstance(self.C, Mapping) else self.C


@dataclass(frozen=True)
class Job:
    """A transfer experiment before its features are extracted.

    Attributes:
        settings: settings of the task.
        network: the network with its data.
        dataset: the images as a data set for probes.
        baselines: scores of trained networks, by name.
        points: the fits to do.
        processes: the processes that extract.
        cache_dir: folder of the cache.
        folder: folder of the result.
        force: whether cached fits are repeated.
    """

    settings: Settings
    network: LoadedNetwork
    dataset: TransferDataset
    baselines: Mapping[str, Baseline]
    points: Sequence[GridPoint]
    processes: Processes
    cache_dir: Path
    folder: Path
    force: bool

    @property
    def untrained(self) -> bool:
        """Whether the network's weights are random."""
        return self.network.weights == RANDOM_WEIGHTS

    @property
    def probe_config(self) -> ProbeConfig:
        """Settings of the fits."""
        return ProbeConfig(self.settings.normalize, self.settings.regularization, self.settings.cv_folds)


def run(cfg: DictConfig, overrides: list[str], settings: Settings) -> int:
    """Extract features, fit the probes that are not cached, write ``results/transfer_<data>``."""
    with (
        Processes(cfg) as processes,
        open_run(cfg, overrides, "transfer", shared=True) as run_dir,
        processes.stop_together(),
    ):
        job = prepare(cfg, load_network(cfg, overrides), settings, processes, run_dir)
        caches, stores = {}, []
        for weights, net in networks(job).items():
            stores.append(extract(job, weights, net))
            if processes.rank == 0:  # one process fits
                caches[weights] = fit(job, weights, stores[-1])
        if processes.rank > 0:
            return 0
        result, answers = write_result(job, caches, stores[0], command_line(overrides))
    log_answer(result, answers, job.folder)
    return 0


def prepare(cfg: DictConfig, network: LoadedNetwork, settings: Settings, processes: Processes, run_dir: Path) -> Job:
    """Resolve layers and splits and read the baselines, so that mistakes are found before the work begins.

    Raises:
        InputError: a layer, a split or a baseline cannot be used, or a file of somebody else would be overwritten.
    """
    data, protocol = network.data, network.data.protocol
    dataset = transfer_dataset(data, settings.multilabel_policy, settings.average_precision)
    baselines = {
        name: read_baseline(dirs, dataset.targets, protocol, cfg.trust) for name, dirs in settings.baselines.items()
    }
    layers = layer_names(network.net, settings.layers, data.image_size)
    sizes = list(dict.fromkeys(protocol.number(size) for size in settings.images_per_class))
    for size, fold in product(sizes, settings.folds):
        protocol.split(size, fold)
    grid = product(layers, settings.folds, sizes, settings.probes)
    points = [GridPoint(layer, probe, size, fold) for layer, fold, size, probe in grid]
    folder = run_dir / "results" / f"transfer_{slug(protocol.title)}"
    check_results(run_dir, f"results/{folder.name}")
    return Job(settings, network, dataset, baselines, points, processes, Path(cfg.cache_dir), folder, bool(cfg.force))


def layer_names(net: nn.Module, layers: Sequence[str | int] | None, image_size: int) -> list[str]:
    """Return the names of layers given by name or number; by default those that the paper transfers."""
    return transfer_layers(net, image_size) if layers is None else layers_by_number(net, layers, image_size)


def slug(title: str) -> str:
    """Return a title as part of a file name."""
    return re.sub(r"[^a-z0-9.]+", "-", title.lower()).strip("-") or "data"


def networks(job: Job) -> dict[str, nn.Module]:
    """Return the network and, if asked for, a copy with randomized weights, by kind of weights."""
    network = job.network
    if job.untrained:
        log.warning("%s has random weights: give run=DIR or model.weights=FILE for a trained network", network.name)
    nets = {UNTRAINED if job.untrained else TRAINED: network.net}
    if job.settings.random_weights_control:
        nets[RANDOM] = randomize_weights(network.net, spread_images(network.data, STATISTICS_IMAGES))
    return nets


def extract(job: Job, weights: str, net: nn.Module) -> FeatureStore:
    """Extract the missing features of all images of the protocol; return their store."""
    data, settings, processes = job.network.data, job.settings, job.processes
    more = transfer_layers(net, data.image_size) if settings.extract_all_layers else []
    layers = list(dict.fromkeys([*(point.layer for point in job.points), *more]))
    about = feature_source(job.network, net, settings.view, settings.pool_size, settings.pooling)
    name = f"{job.network.name}-{digest_lines(f'{key}={value}' for key, value in about.items())[:16]}"
    given = settings.features if weights != RANDOM else None
    count = len(data.protocol)
    store = FeatureStore(Path(given or job.cache_dir / "features" / name).expanduser(), about, count)
    started = time.monotonic()
    missing = count - min(store.done(layer) for layer in layers)
    with tqdm(desc="features", unit="image", total=-(-missing // processes.world_size), disable=None) as bar:
        extraction = Extraction(
            processes.place(net),
            lambda at: (batch[0] for batch in data.pool_dataloader(settings.view, at)),
            settings.pool_size,
            settings.pooling,
            on_progress=bar.update,
        )
        rank, world_size, barrier = processes.rank, processes.world_size, processes.barrier
        done = extract_distributed(store, layers, extraction, rank=rank, world_size=world_size, barrier=barrier)
    if done:
        log.info("extracted features of %d images, %d layers: %.0f s", done, len(layers), time.monotonic() - started)
    log.info("features in %s", store.folder)
    return store


def fit(job: Job, weights: str, store: FeatureStore) -> FitCache:
    """Fit the probes that are not cached, or all if forced; each result is written at once."""
    digests = split_digests(job.network.data.protocol)
    about = fit_source(store.about, job.probe_config, job.dataset.targets)
    cache = FitCache(job.folder / "cells" / weights.replace(" ", "_"), about, digests)
    points, dataset = job.points, job.dataset
    missing = [point for point in points if job.force or point not in cache]
    if len(missing) < len(points):
        log.info("%s: %d of %d fits are cached", weights, len(points) - len(missing), len(points))
    if count := cache.num_other_settings:
        log.info("%s: %d fits with other settings are kept for their own command", weights, count)
    started = time.monotonic()
    with tqdm(desc=f"probes, {weights}", unit="fit", total=len(missing), disable=None) as bar:
        for result in fit_grid(store.read, dataset.targets, dataset.split, missing, job.probe_config):
            cache.put(result)
            bar.set_postfix_str(f"{result.point.layer} {result.metrics.score:.1f} %")
            bar.update()
    if missing:
        log.info("%s: %d fits in %.0f s", weights, len(missing), time.monotonic() - started)
    return cache


def write_result(
    job: Job, caches: Mapping[str, FitCache], store: FeatureStore, command: str
) -> tuple[AnalysisResult, list[str]]:
    """Write everything; ``store`` has the features of the network itself, whose fits are the first of the caches."""
    settings, network, dataset = job.settings, job.network, job.dataset
    sizes = list(dict.fromkeys(point.images_per_class for point in job.points))
    write_splits(network.data.protocol, job.folder / "splits", sizes, max(settings.folds) + 1)
    with directory_lock(job.folder, wait=True):
        remove_partials(job.folder, ".*.partial")  # not those of fits, which processes of other machines may write
        table = ScoreTable(caches, [name for name, _ in network.net.named_modules()])
        report = TransferReport(network.name, job.untrained, dataset, table, job.baselines, settings.regularization)
        result = report.build(job.folder, settings.num_examples)
        answers = [report.answer]
        known = not store.missing([table.chosen().layer])  # else of an earlier command, whose features were removed
        if dataset.submission is not None and table.size is None and known:
            submit(job.folder / "submission", store.read, table, dataset, job.probe_config)
            answers.insert(0, f"submission of the {dataset.submission.part} images: {job.folder / 'submission'}")
        result.write(job.folder, command)
    return result, answers

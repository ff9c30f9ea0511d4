"""``task=diagnose``: state of the first layers of one network or of several side by side (section 4.1, Fig 6)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from omegaconf import DictConfig
from torch import nn

from convlens.analysis.diagnosis.diagnose import Diagnosis, diagnose
from convlens.analysis.diagnosis.result import diagnosis_result
from convlens.analysis.diagnosis.run_groups import DiagnosedNetwork
from convlens.callbacks.filters import convolutions
from convlens.errors import InputError
from convlens.io.json_files import read_json
from convlens.runs.analysis import write_and_log
from convlens.runs.control_network import control_networks
from convlens.runs.groups import without_seed
from convlens.runs.run_config import read_config
from convlens.runs.run_directory import open_run
from convlens.runs.setting_differences import hashable
from convlens.runs.subject import LoadedNetwork, load_network
from convlens.runs.typed_settings import Count, Positive


@dataclass(frozen=True)
class Settings:
    """Settings of the task; ``conf/task/diagnose.yaml`` has their values and what they mean."""

    run_dirs: Sequence[str] | None
    split: str
    images: Positive | None
    shift_images: Count
    control: Literal["random", "none"]


def run(cfg: DictConfig, overrides: list[str], settings: Settings) -> int:
    """Draw the filters, measure the layers, write ``results/filters``."""
    if settings.run_dirs is not None and not settings.run_dirs:
        raise InputError("task.run_dirs is empty: give directories of runs, or run=DIR")
    with open_run(cfg, overrides, "diagnose", "filters") as run_dir:
        networks = []
        for name, directory in zip(*_named_directories(cfg, settings), strict=True):
            own = cfg.copy()
            own.run = directory
            networks.append(_diagnosed(load_network(own, overrides), name, directory, settings))
        folder = run_dir / "results" / "filters"
        write_and_log(diagnosis_result(networks, folder), folder, overrides, _answer(networks))
    return 0


def _named_directories(cfg: DictConfig, settings: Settings) -> tuple[Sequence[str | None], Sequence[str | None]]:
    """Return names and run directories; None for the name of the only network and for a network without a run."""
    if settings.run_dirs is None:
        return [None], [cfg.run]
    return short_names(settings.run_dirs), settings.run_dirs


def short_names(directories: Sequence[str]) -> list[str]:
    """Return the last parts of paths, as many as tell the paths apart; a path that is given twice gets a number."""
    paths = [Path(directory).resolve().parts for directory in directories]
    names: list[str] = []
    for length in range(1, max(map(len, paths), default=0) + 1):
        names = ["-".join(parts[-length:]).replace("/", "") for parts in paths]
        if len(set(names)) == len(set(paths)):
            break
    counts: dict[str, int] = {}
    for number, name in enumerate(names):
        counts[name] = counts.get(name, 0) + 1
        names[number] = name if counts[name] == 1 else f"{name}-{counts[name]}"
    return names


def _diagnosed(network: LoadedNetwork, name: str | None, directory: str | None, settings: Settings) -> DiagnosedNetwork:
    """Diagnose a network and its copy with randomized weights, and read what its run recorded."""
    examine = _examination(network, settings)
    controls = [examine(net) for _, net in control_networks(network, settings.control, settings.split)]
    metrics = read_json(Path(directory) / "metrics.json") if directory else {}
    error = metrics.get("test/top1_error", metrics.get("test/error"))
    config = (read_config(Path(directory), edited=True) if directory else None) or {}
    seed = config.get("seed")
    return DiagnosedNetwork(
        name or network.name,
        examine(network.net),
        network.name,
        float(error) if isinstance(error, int | float) else math.nan,
        seed if isinstance(seed, int) else None,
        {key: hashable(value) for key, value in without_seed(config).items()},
        controls[-1] if controls else None,
    )


def _examination(network: LoadedNetwork, settings: Settings) -> Callable[[nn.Module], Diagnosis]:
    """Return a function that diagnoses the network, or a copy of it, on its images."""
    data = network.data
    batches = [images for images, _ in data.plain_dataloader(settings.split, settings.images)]
    if not batches:
        raise InputError(f"task.split={settings.split}: the split has no image, choose another")
    names = [name.removesuffix(".filter") for name, _ in convolutions(network.net)]
    if len(names) < 2:
        raise InputError(f"{network.name} has {len(names)} convolutions: a diagnosis needs two")
    larger = []
    if data.stored_size >= data.image_size + 6:
        dataset = data.dataset(settings.split)
        larger = [image.float() for image in dataset.read_pixels(range(min(settings.shift_images, len(dataset))))]
    return partial(
        diagnose,
        images=torch.cat(batches),
        larger=larger,
        preprocess=network.preprocess,
        layers=names if names[0] == "conv1" else names[:2],
        names=(names[0], names[1]),
    )


def _answer(networks: Sequence[DiagnosedNetwork]) -> list[str]:
    findings = [
        f"{network.name}: {finding.observation}: {finding.meaning}; try {finding.change}"
        for network in networks
        for finding in network.found.findings
    ]
    return findings + [
        f"{network.found.layer} of {network.name}: strongest filter {network.found.health.spread:.1f} times the "
        f"median, {network.found.health.dead_share:.1f} % dead filters, {network.found.dead_maps:.1f} % dead maps"
        for network in networks
    ]

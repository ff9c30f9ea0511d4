"""``task=project``: the strongest activations of each map, projected to the pixels, with controls (Fig 2)."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from omegaconf import DictConfig

from convlens.analysis.galleries.draw_galleries import draw_galleries, gallery_plan
from convlens.analysis.galleries.gallery_result import gallery_result, rounded_seconds
from convlens.analysis.galleries.job import GalleryFiles, GalleryJob
from convlens.analysis.galleries.shared_work import Worker
from convlens.analysis.galleries.sheets import TABLE_COLUMNS
from convlens.analysis.galleries.top_k_metric import MOST
from convlens.callbacks.log_media import log_image, log_table
from convlens.deconv.project import ProjectOptions
from convlens.deconv.rules import LrnRule, Rule, Signal, Unpool
from convlens.io.file_states import changed_files
from convlens.io.hashing import digest_json
from convlens.io.json_files import read_json
from convlens.ops.default_layers import default_layers
from convlens.runs.analysis import log_answer
from convlens.runs.control_network import ControlKind, control_networks
from convlens.runs.launch import Processes
from convlens.runs.record import command_line
from convlens.runs.run_directory import open_run
from convlens.runs.subject import LoadedNetwork, load_network
from convlens.runs.task_loggers import loggers_of
from convlens.runs.typed_settings import Between, Count, Positive

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rules:
    """Options of `convlens.project`; ``conf/task/project.yaml`` has their values and what they mean."""

    rule: Rule
    signal: Signal
    unpool: Unpool
    lrn: LrnRule | None


@dataclass(frozen=True)
class Settings:
    """Settings of the task; ``conf/task/project.yaml`` has their values and what they mean."""

    layers: Sequence[str] | None
    maps: Positive | None
    split: str
    images: Positive | None
    k: Annotated[int, Between(1, MOST)]
    detailed: Count
    controls: Count | None
    control: ControlKind
    max_images: Positive | None
    keep: bool
    rules: Rules


def run(cfg: DictConfig, overrides: list[str], settings: Settings) -> int:
    """Search the split, project, write ``results/projections``; a finished gallery of the same settings is reused."""
    with (
        Processes(cfg) as processes,
        open_run(cfg, overrides, "project", "projections") as run_dir,
        processes.stop_together(),
    ):
        network = load_network(cfg, overrides)
        job = gallery_job(network, settings)
        folder = run_dir / "results" / "projections"
        plan = digest_json(gallery_plan(network.net, network.data, job))
        if not cfg.force and is_finished(folder, plan):
            unlogged = ", nothing is sent to the loggers" if set(cfg.logger) - {"csv"} else ""
            log.info("%s holds this gallery: reused%s (force=true does it again)", folder, unlogged)
            return 0
        files = draw_galleries(
            processes.place(network.net),
            network.data,
            job,
            folder / "best",
            title=f"{network.name}, {job.split} images",
            worker=Worker(processes.rank, processes.world_size, processes.barrier, progress=True),
            controls=control_networks(network, settings.control, settings.split),
        )
        if files is None:
            return 0
        result = gallery_result(files, folder, f"{job.split} images", job)
        log_files(cfg, files)  # before the result, with which the gallery counts as finished
        result.write(folder, command_line(overrides), seconds=rounded_seconds(files), plan=plan)
    log_answer(result, [f"{step}: {seconds:.0f} s" for step, seconds in files.seconds.items()], folder)
    return 0


def gallery_job(network: LoadedNetwork, settings: Settings) -> GalleryJob:
    """Return the settings as a gallery's request, each layer once."""
    layers = settings.layers or default_layers(network.net, network.data.image_size)
    rules = settings.rules
    return GalleryJob(
        layers=list(dict.fromkeys(layers)),
        split=settings.split,
        maps=settings.maps,
        images=settings.images,
        k=settings.k,
        rules=ProjectOptions(rule=rules.rule, signal=rules.signal, unpool=rules.unpool, lrn=rules.lrn),
        detailed=settings.detailed,
        controls=settings.controls,
        control=settings.control,
        max_images=settings.max_images,
        keep=settings.keep,
    )


def is_finished(folder: Path, plan: str) -> bool:
    """Return whether the folder holds the gallery of a plan, with all of its figures and whole."""
    result = read_json(folder / "result.json")
    figures = result.get("figures", [])
    if result.get("plan") != plan or not all((folder / figure["file"]).is_file() for figure in figures):
        return False
    for name in (damaged := changed_files(folder, result.get("states"))):
        log.warning("%s is damaged: the gallery is made again", folder / name)
    return not damaged


def log_files(cfg: DictConfig, files: GalleryFiles) -> None:
    """Log sheets and table to the loggers that support them."""
    with loggers_of(cfg) as loggers:
        for layer, path in files.sheets.items():
            log_image(loggers, f"projections/{layer}", path, 0, layer)
        log_table(loggers, "projections/top", TABLE_COLUMNS, files.rows, 0)

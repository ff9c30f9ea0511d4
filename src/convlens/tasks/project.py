"""``task=project``: what excites the maps of a network most, projected to the pixels."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from convlens.analysis.galleries.array_store import digest
from convlens.analysis.galleries.draw_galleries import GalleryFiles, GalleryJob, draw_galleries, plan_of
from convlens.analysis.galleries.gallery_result import gallery_result
from convlens.analysis.galleries.selected_units import default_layers
from convlens.analysis.galleries.sheets import TABLE_COLUMNS
from convlens.callbacks.at_epochs import show_picture, show_table
from convlens.errors import InputError
from convlens.io.atomic import write_json
from convlens.runs.launch import Processes
from convlens.runs.record import command_line, read_json
from convlens.runs.subject import load_network, open_run
from convlens.runs.task_loggers import loggers_of
from convlens.runs.typed_settings import check_number

log = logging.getLogger(__name__)


def run(cfg: DictConfig, overrides: list[str], *, layers: Sequence[str] | str | None, **settings: Any) -> int:
    """Search the split, project, write ``results/projections``; a gallery that is finished is left as it is.

    The settings are those of ``GalleryJob``.

    Raises:
        InputError: a number is too small.
    """
    for name, least in (("maps", 1), ("k", 1), ("images", 1), ("detailed", 0), ("controls", 0), ("images_at_once", 1)):
        check_number(f"task.{name}", settings[name], least, optional=name not in ("k", "detailed"))
    check_rules(settings["rules"])
    with Processes(cfg) as processes, open_run(cfg, overrides, "project") as run_dir, processes.of_one_mind():
        command = command_line(overrides)
        subject = load_network(cfg, overrides)
        names = (
            [layers]
            if isinstance(layers, str)
            else list(layers or default_layers(subject.net, subject.data.image_size))
        )
        names = list(dict.fromkeys(names))
        job = GalleryJob(names, **settings)
        folder = run_dir / "results" / "projections"
        plan = digest(plan_of(subject.net, subject.data, job))
        if not cfg.force and is_finished(folder, plan):
            told = ", which shows nothing in the loggers" if set(cfg.logger) - {"csv"} else ""
            log.info("%s holds this gallery: reused%s (force=true does it anew)", folder, told)
            return 0
        title = f"{subject.name}, {job.split} images"
        drawn = draw_galleries(
            processes.place(subject.net),
            subject.data,
            job,
            folder / "best",
            title=title,
            progress=True,
            process=processes.process,
            together=processes.together,
        )
        if drawn is None:
            return 0
        result = gallery_result(drawn, folder, f"{job.split} images", job)
        show(cfg, drawn)  # before it counts as finished
        write_json(folder / "result.json", {**result, "command": command, "plan": plan})
    log.info("%s", ", ".join(f"{step} {seconds:.0f} s" for step, seconds in drawn.seconds.items()))
    log.info("sheets of %s in %s", ", ".join(drawn.sheets), folder / "best")
    return 0


def is_finished(folder: Path, plan: str) -> bool:
    """Whether the gallery of that plan is there, with all of its pictures."""
    result = read_json(folder / "result.json")
    figures = result.get("figures", [])
    return result.get("plan") == plan and all((folder / figure["file"]).is_file() for figure in figures)


def check_rules(rules: Any) -> None:
    """Sees to it that the options of the way down are known ones; their values are checked where they are used.

    Raises:
        InputError: they are not.
    """
    known = ("rule", "seed", "unpool", "lrn")
    if not isinstance(rules, Mapping) or set(rules) - set(known):
        raise InputError(f"task.rules={rules}: give values for {', '.join(known)}, as task.rules.rule=gradient")


def show(cfg: DictConfig, drawn: GalleryFiles) -> None:
    """Sheets and table in the loggers that have pictures; the csv of a run's epochs is not touched."""
    with loggers_of(cfg) as loggers:
        for layer, path in drawn.sheets.items():
            show_picture(loggers, f"projections/{layer}", path, 0, layer)
        show_table(loggers, "projections/top", TABLE_COLUMNS, drawn.rows, 0)

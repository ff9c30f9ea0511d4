"""``task=project``: what excites the maps of a network most, projected to the pixels."""

import logging
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig

from convlens import runs
from convlens.analysis.gallery import default_layers
from convlens.callbacks.projections import draw_galleries, gallery_result
from convlens.files import write_json

log = logging.getLogger(__name__)


def run(
    cfg: DictConfig,
    overrides: list[str],
    *,
    layers: Sequence[str] | str | None,
    maps: int | None,
    split: str,
    images: int | None,
    k: int,
    rules: dict[str, Any],
) -> int:
    """Search the split, project, write ``results/projections``."""
    with runs.analysing(cfg, overrides, "project") as run_dir:
        command = runs.command_line(overrides)
        subject = runs.subject(cfg, overrides)
        folder = run_dir / "results" / "projections"
        drawn = draw_galleries(
            subject.net,
            subject.data,
            [layers] if isinstance(layers, str) else list(layers or default_layers(subject.net)),
            folder / "best",
            title=f"{subject.name}, {split} images",
            split=split,
            images=images,
            maps=maps,
            k=k,
            rules=rules,
            progress=True,
        )
        write_json(
            folder / "result.json", {**gallery_result(drawn, folder, f"{split} images", k, rules), "command": command}
        )
    log.info("sheets of %s in %s", ", ".join(drawn.sheets), folder / "best")
    return 0

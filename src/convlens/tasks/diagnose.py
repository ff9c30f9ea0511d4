"""``task=diagnose``: the health of the first layer's filters (paper, section 4.1)."""

import logging
from typing import Any

from omegaconf import DictConfig

from convlens import runs
from convlens.analysis.diagnosis import FilterHealth, filter_health, silent_share
from convlens.callbacks.filters import first_conv
from convlens.figures import filters_sheet, rms_histogram, save_png
from convlens.files import write_json

log = logging.getLogger(__name__)


def run(cfg: DictConfig, overrides: list[str], *, split: str, images: int | None) -> int:
    """Draw the filters, measure them, write ``results/filters``."""
    with runs.analysing(cfg, overrides, "diagnose") as run_dir:
        subject = runs.subject(cfg, overrides)
        name, conv = first_conv(subject.net)
        health = filter_health(conv.weight)
        layer = name if name == "conv1" else f"{name} followed by relu"
        silent = silent_share(subject.net, name, subject.data.plain_dataloader(split, images))
        folder = run_dir / "results" / "filters"
        weights, dead = conv.weight.detach().cpu().float().numpy(), health.dead.cpu().numpy()
        title = f"{subject.name}: {layer}, {conv.kernel_size[0]}x{conv.kernel_size[1]} at stride {conv.stride[0]}"
        save_png(filters_sheet(weights, title=f"{title}, one scale", dead=dead), folder / "filters.png")
        save_png(filters_sheet(weights, per_filter=True, title=f"{title}, own scales"), folder / "each.png")
        save_png(
            rms_histogram({subject.name: health.rms.cpu().numpy()}, title="RMS of the filters"), folder / "rms.png"
        )
        write_json(folder / "result.json", {**result(health, silent), "command": runs.command_line(overrides)})
    log.info(
        "%s of %s: strongest filter %.1f times the median, %.1f %% flat, %.1f %% hardly ever active; pictures in %s",
        name,
        subject.name,
        health.spread,
        health.dead_share,
        silent,
        folder,
    )
    return 0


def result(health: FilterHealth, silent: float) -> dict[str, Any]:
    """What the report reads."""
    return {
        "analysis": "filters",
        "title": "Health of the first layer",
        "reproduces": "Fig 6 a-c",
        "order": 20,
        "text": (
            "The first layer's filters on one common scale, so that one filter that dominates leaves the others grey, "
            "and each on its own scale, which shows structure but no strength. Underlined filters are flat."
        ),
        "numbers": [
            {"name": "strongest filter's RMS over the median", "value": health.spread, "unit": "times"},
            {"name": "flat filters", "value": health.dead_share, "unit": "%"},
            {"name": "maps active at fewer than 0.01 % of places", "value": silent, "unit": "%"},
        ],
        "figures": [
            {"file": "filters.png", "key": "filters", "caption": "one scale for all"},
            {"file": "each.png", "key": "each", "caption": "a scale for each"},
            {"file": "rms.png", "key": "rms", "caption": "RMS of the filters"},
        ],
        "tables": [],
    }

"""``task=occlude``: occlusion sensitivity of selected images, and whether the network uses the object (Fig 7)."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig
from tqdm import tqdm

from convlens.analysis.galleries.map_examples import MapExamples
from convlens.analysis.occlusion.occlude import default_occluder, occlude, positions
from convlens.analysis.occlusion.occluders import occluder_value
from convlens.analysis.occlusion.result import OccludedSet, OcclusionRecord, draw_records, measure, save_maps
from convlens.ops.default_layers import default_layers
from convlens.runs.analysis import run_analysis
from convlens.runs.image_selection import ImageSelection, class_namer, select_images
from convlens.runs.subject import LoadedNetwork
from convlens.runs.typed_settings import Count, Positive
from convlens.stats.results import AnalysisResult


@dataclass(frozen=True)
class Settings(ImageSelection):
    """Settings of the task; ``conf/task/occlude.yaml`` has their values and what they mean."""

    size: Positive | None
    stride: Positive | None
    occluder: str | float
    layer: str | None
    num_examples: Count
    search_images: Count


def run(cfg: DictConfig, overrides: list[str], settings: Settings) -> int:
    """Occlude the selected images, draw some of them, decide the claims, write ``results/occlusion``."""
    return run_analysis(
        cfg, overrides, "occlude", "occlusion", lambda network, folder: analyse(network, folder, settings)
    )

"""``task=duplicates``: near-duplicate images within the data or between the data and another set (Sec. 6)."""

import csv
import io
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from jaxtyping import UInt8
from numpy import ndarray
from omegaconf import DictConfig
from PIL import Image

from convlens.data import ImageData
from convlens.data.near_duplicates import (
    DuplicatePair,
    ImageSet,
    MatchCriteria,
    find_duplicates,
    image_set,
    images_to_drop,
)
from convlens.errors import InputError
from convlens.figures.map_rows import rows_sheet
from convlens.figures.png import save_png
from convlens.io.atomic import write_bytes
from convlens.io.claims import remove_own
from convlens.io.names import name_bytes
from convlens.io.tables import Cell
from convlens.runs.analysis import write_and_log
from convlens.runs.compose import compose_job
from convlens.runs.conf_files import options
from convlens.runs.run_directory import open_run
from convlens.runs.subject import instantiate, require_images
from convlens.runs.trust import trusted_config
from convlens.runs.typed_settings import Between, Count, Positive
from convlens.stats.results import AnalysisResult, Figure, Number, Table

COLUMNS = 8
"""Pairs in a row of the picture."""
PAPER = "Caltech-101 and ImageNet: 44 of 9,144, at most 10 in a class; Caltech-256: 243 of 30,607, at most 18"


@dataclass(frozen=True)
class Settings:
    """Settings of the task; ``conf/task/duplicates.yaml`` has their values and what they mean."""

    against: str | None
    against_root: str | None
    splits: Sequence[Literal["train", "val", "test"]] | None
    small_size: Annotated[int, Between(2, 1024)]
    small_threshold: Annotated[float, Between(0, 1)]
    large_size: Annotated[int, Between(2, 1024)]
    large_threshold: Annotated[float, Between(0, 1)]
    block_size: Positive
    max_pairs_shown: Count

    @property
    def criteria(self) -> MatchCriteria:
        """Criteria for two images to be the same."""
        sizes = (self.small_size, self.small_threshold, self.large_size, self.large_threshold)
        return MatchCriteria(*sizes, self.block_size)


def run(cfg: DictConfig, overrides: list[str], settings: Settings) -> int:
    """Write ``results/duplicates``: the pairs, and the names of the images to leave out."""
    criteria = settings.criteria
    with open_run(cfg, overrides, "duplicates") as run_dir:
        data, other = data_sets(cfg, overrides, settings)
        images = image_set(data, settings.splits)
        others = None if other is None else image_set(other, settings.splits)
        started = time.monotonic()
        pairs = find_duplicates(images, others, criteria)
        seconds = round(time.monotonic() - started, 1)
        folder = run_dir / "results" / "duplicates"
        dropped = images_to_drop(pairs, within=others is None)
        for earlier in ("pairs.png", "exclude_other.txt"):
            remove_own(folder / earlier)
        write_lists(folder, images, others, pairs, dropped)
        if shown := pairs[: settings.max_pairs_shown]:
            save_png(pairs_sheet(images, others or images, shown, len(pairs)), folder / "pairs.png")
        result = duplicates_result(images, others, len(pairs), dropped, criteria, has_figure=bool(shown))
        against = f" against {len(others.names)}" if others else " among themselves"
        answer = [f"{len(images.names)} images{against}: {len(pairs)} pairs, {len(dropped)} to leave out"]
        write_and_log(result, folder, overrides, answer, seconds=seconds)
    return 0


def data_sets(cfg: DictConfig, overrides: Sequence[str], settings: Settings) -> tuple[ImageData, ImageData | None]:
    """Return the data, and the other set to search: a run's data, a named data set, or None.

    Raises:
        InputError: there is no such run or data set, or both are given.
    """
    against, root = settings.against, settings.against_root
    if cfg.run is not None:
        if against is not None or root is not None:
            raise InputError(f"run={cfg.run} and task.against are both given: give one of them")
        run_data = trusted_config(Path(cfg.run), cfg.trust, cfg.cache_dir).data
        if "data" not in {override.lstrip("+~").partition("=")[0] for override in overrides}:
            return require_images(instantiate(run_data)), None
        if "resize_mode" in run_data:
            run_data.resize_mode = cfg.data.resize_mode  # with another one, copies would differ
        return require_images(instantiate(cfg.data)), require_images(instantiate(run_data))
    data = require_images(instantiate(cfg.data))
    if against is None:
        if root is not None:
            raise InputError(f"task.against_root={root} needs the kind of data set: give task.against, too")
        return data, None
    names = [name for name in options("data") if name != "base"]
    if against not in names:
        raise InputError(f"task.against={against!r} is no data set: choose one of {', '.join(names)}")
    second = compose_job([f"data={against}"])
    second.merge_with({key: cfg[key] for key in ("seed", "data_dir", "cache_dir")})
    shared = ("image_size", "stored_size", "resize_mode", "download", "num_workers")
    second.data.merge_with({key: cfg.data[key] for key in shared if key in cfg.data})
    if root is not None:
        second.data.source.root = root
    return data, require_images(instantiate(second.data))


def write_lists(
    folder: Path, images: ImageSet, others: ImageSet | None, pairs: Sequence[DuplicatePair], dropped: Sequence[int]
) -> None:
    """Write ``duplicates.csv``, and the names to leave out of the data, or, as the paper did, of the other set."""
    second = others or images
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["image", "class", "other", "other_class", "correlation_small", "correlation_large"])
    for pair in pairs:
        image, other = pair.image, pair.other
        cells = [images.names[image], images.classes[image], second.names[other], second.classes[other]]
        table.writerow([*cells, f"{pair.small:.5f}", f"{pair.large:.5f}"])
    write_bytes(folder / "duplicates.csv", name_bytes(text.getvalue()))
    lists = {"exclude.txt": [images.names[index] for index in dropped]}
    if others:
        lists["exclude_other.txt"] = [others.names[index] for index in sorted({pair.other for pair in pairs})]
    for file, names in lists.items():
        write_bytes(folder / file, name_bytes("".join(f"{name}\n" for name in names)))


def pairs_sheet(images: ImageSet, others: ImageSet, pairs: Sequence[DuplicatePair], count: int) -> Image.Image:
    """Draw pairs, one image above the other; ``count`` is the number of all pairs."""
    blocks = [pairs[start : start + COLUMNS] for start in range(0, len(pairs), COLUMNS)]
    rows = {
        "image": [_tiles(images, [pair.image for pair in block]) for block in blocks],
        "other": [_tiles(others, [pair.other for pair in block]) for block in blocks],
    }
    captions = [
        [f"{pair.large:.3f}\n{images.classes[pair.image]}\n{others.classes[pair.other]}" for pair in block]
        for block in blocks
    ]
    note = "Correlation in colour, then the class of the upper and of the lower image."
    title = f"The {len(pairs)} most similar of {count} pairs"
    return rows_sheet(rows, [""] * len(blocks), captions=captions, title=title, note=note)


def _tiles(images: ImageSet, indices: Sequence[int]) -> UInt8[ndarray, "n s s 3"]:
    return images.read_pixels(indices).permute(0, 2, 3, 1).numpy()


def duplicates_result(
    images: ImageSet,
    others: ImageSet | None,
    num_pairs: int,
    dropped: Sequence[int],
    criteria: MatchCriteria,
    *,
    has_figure: bool,
) -> AnalysisResult:
    """Return the result for the report."""
    total = len(images.names)
    dropped_of, all_of = (Counter(images.classes[i] for i in rows) for rows in (dropped, range(total)))
    where = f"also in another set of {len(others.names)}" if others else "twice in the set"
    rows: list[list[Cell]] = [[name, count, all_of[name]] for name, count in dropped_of.most_common()]
    return AnalysisResult(
        "duplicates",
        "Duplicate images",
        "section 6, images of Caltech in ImageNet",
        f"{len(dropped)} of {total} images occur {where}: their normalized correlation is at least "
        f"{criteria.small_threshold} at {criteria.small_size} px in grey, and {criteria.large_threshold} at "
        f"{criteria.large_size} px in colour, on the squares that the network reads. The paper found copies this way "
        f"({PAPER}), and gives neither size nor threshold. Mirrored and cropped copies are not found.",
        numbers=[Number("images", total), Number("pairs", num_pairs), Number("images to leave out", len(dropped))],
        figures=[Figure("pairs.png", "pairs", "most similar pairs")] if has_figure else [],
        tables=[Table("Images to leave out (exclude.txt), by class", ["class", "to leave out", "of"], rows)],
    )

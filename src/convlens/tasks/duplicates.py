"""``task=duplicates``: images of the data that occur in another set too, or twice in the one (paper, section 6)."""

import csv
import io
import logging
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
import numpy as np
from omegaconf import DictConfig, OmegaConf

from convlens.cli.main import conf_dir
from convlens.data import ImageData
from convlens.data.near_duplicates import ImageSet, Pair, Rule, duplicates, image_set, to_drop
from convlens.errors import InputError
from convlens.figures.map_rows import rows_sheet
from convlens.figures.png import save_png
from convlens.io.atomic import write_bytes, write_json
from convlens.runs.record import command_line
from convlens.runs.subject import instantiate, open_run
from convlens.runs.typed_settings import check_number

log = logging.getLogger(__name__)
COLUMNS = 8
PAPER = "Caltech-101 and ImageNet: 44 of 9,144, at most 10 in a class; Caltech-256: 243 of 30,607, at most 18"


def run(
    cfg: DictConfig,
    overrides: list[str],
    *,
    against: str | None,
    against_root: str | None,
    splits: Sequence[str] | None,
    small_size: int,
    small_threshold: float,
    large_size: int,
    large_threshold: float,
    block: int,
    shown: int,
) -> int:
    """Compare, write ``results/duplicates`` with the pairs, and the names of the images to leave out."""
    for name, value in (("small_size", small_size), ("large_size", large_size), ("block", block)):
        check_number(f"task.{name}", value, 1)
    check_number("task.shown", shown, 0)
    rule = Rule(small_size, small_threshold, large_size, large_threshold, block)
    with open_run(cfg, overrides, "duplicates") as run_dir:
        data, other = data_sets(cfg, overrides, against, against_root)
        images, others = (image_set(one, splits) if one is not None else None for one in (data, other))
        assert images is not None
        started = time.monotonic()
        pairs = duplicates(images, others, rule)
        seconds = time.monotonic() - started
        folder = run_dir / "results" / "duplicates"
        dropped = to_drop(pairs, within=others is None)
        for earlier in ("pairs.png", "exclude_other.txt"):
            (folder / earlier).unlink(missing_ok=True)
        write_lists(folder, images, others, pairs, dropped)
        if drawn := pairs[:shown]:
            save_png(_sheet(images, others, drawn, len(pairs)), folder / "pairs.png")
        result = _result(images, others, pairs, dropped, rule, bool(drawn))
        write_json(folder / "result.json", result | {"seconds": round(seconds, 1), "command": command_line(overrides)})
    where = f" against {len(others.names)}" if others else " among themselves"
    log.info("%d images%s: %d pairs, %d to leave out", len(images.names), where, len(pairs), len(dropped))
    log.info("results in %s, %.0f s", folder, seconds)
    return 0


def data_sets(
    cfg: DictConfig, overrides: Sequence[str], against: str | None, root: str | None
) -> tuple[ImageData, ImageData | None]:
    """The data whose images are looked for, and where: in a run's own data, in another set, or nowhere else.

    Raises:
        InputError: there is no such run or set, or both are given.
    """
    typed = {o.lstrip("+~").partition("=")[0] for o in overrides}
    if cfg.run is not None:
        if against is not None or root is not None:
            raise InputError(f"run={cfg.run} and task.against are both given: compare with one of them")
        config = Path(cfg.run) / "config.yaml"
        if not config.exists():
            raise InputError(f"{cfg.run} is not a run directory (no config.yaml): give the directory of a training run")
        theirs: DictConfig = OmegaConf.load(config).data
        if "data" not in typed:
            return instantiate(theirs), None
        if "fit" in theirs:
            theirs.fit = cfg.data.fit  # or copies would be cut differently
        return instantiate(cfg.data), instantiate(theirs)
    data = instantiate(cfg.data)
    if against is None:
        if root is not None:
            raise InputError(f"task.against_root={root} without task.against: say what kind of data set lies there")
        return data, None
    there = sorted(path.stem for path in (conf_dir() / "data").glob("*.yaml") if path.stem != "base")
    if against not in there:
        raise InputError(f"task.against={against!r} is no data set: there is {', '.join(there)}")
    second = hydra.compose("config", [f"data={against}"])
    second.merge_with({key: cfg[key] for key in ("seed", "data_dir", "cache_dir")})
    same = ("image_size", "stored_size", "fit", "download", "num_workers")
    second.data.merge_with({key: cfg.data[key] for key in same if key in cfg.data})
    if root is not None:
        second.data.source.root = root
    return data, instantiate(second.data)


def write_lists(
    folder: Path, images: ImageSet, others: ImageSet | None, pairs: Sequence[Pair], dropped: Sequence[int]
) -> None:
    """``duplicates.csv``, and names to leave out: of the data, or, as the paper did, of the other set."""
    second = others or images
    lines = io.StringIO()
    table = csv.writer(lines, lineterminator="\n")
    table.writerow(["image", "class", "other", "other_class", "correlation_small", "correlation_large"])
    for one in pairs:
        left, right = (images.names[one.image], images.classes[one.image]), second.names[one.other]
        table.writerow([*left, right, second.classes[one.other], f"{one.small:.5f}", f"{one.large:.5f}"])
    write_bytes(folder / "duplicates.csv", lines.getvalue().encode())
    names = {"exclude.txt": [images.names[index] for index in dropped]}
    if others:
        names["exclude_other.txt"] = [others.names[index] for index in sorted({pair.other for pair in pairs})]
    for file, listed in names.items():
        write_bytes(folder / file, "".join(f"{name}\n" for name in listed).encode())


def _sheet(images: ImageSet, others: ImageSet | None, pairs: Sequence[Pair], count: int) -> Any:
    """The first pairs, one image above the other."""
    blocks = [pairs[start : start + COLUMNS] for start in range(0, len(pairs), COLUMNS)]
    second = others or images
    rows = {
        "image": [_tiles(images, [pair.image for pair in block]) for block in blocks],
        "other": [_tiles(second, [pair.other for pair in block]) for block in blocks],
    }
    captions = [
        [f"{pair.large:.3f}\n{images.classes[pair.image]}\n{second.classes[pair.other]}" for pair in block]
        for block in blocks
    ]
    note = "Correlation in colour, then the class of the upper and of the lower image."
    title = f"The {len(pairs)} most alike of {count} pairs"
    return rows_sheet(rows, [""] * len(blocks), captions=captions, title=title, note=note)


def _tiles(images: ImageSet, indices: Sequence[int]) -> np.ndarray:
    return images.stored(indices).permute(0, 2, 3, 1).numpy()


def _result(
    images: ImageSet, others: ImageSet | None, pairs: Sequence[Pair], dropped: Sequence[int], rule: Rule, drawn: bool
) -> dict[str, Any]:
    """What the report reads."""
    of_class, all_of_class = (Counter(images.classes[i] for i in some) for some in (dropped, range(len(images.names))))
    where = f"in another set of {len(others.names)}" if others else "twice in the set"
    return {
        "analysis": "duplicates",
        "title": "Images that occur twice",
        "reproduces": "section 6, images of Caltech in ImageNet",
        "order": 80,
        "text": (
            f"{len(dropped)} of {len(images.names)} images occur {where}: their normalised correlation is at least "
            f"{rule.small_threshold} at {rule.small_size} px in grey, and {rule.large_threshold} at "
            f"{rule.large_size} px in colour, on the squares that the network reads from. The paper found copies so "
            f"({PAPER}), and gives neither size nor threshold. Mirrored and cropped copies are not found."
        ),
        "numbers": [
            {"name": "images", "value": len(images.names)},
            {"name": "pairs", "value": len(pairs)},
            {"name": "images to leave out", "value": len(dropped)},
        ],
        "figures": [{"file": "pairs.png", "key": "pairs", "caption": "the most alike"}] if drawn else [],
        "tables": [
            {
                "title": "Images to leave out (exclude.txt), by class",
                "columns": ["class", "to leave out", "of"],
                "rows": [[name, count, all_of_class[name]] for name, count in of_class.most_common()],
            }
        ],
    }

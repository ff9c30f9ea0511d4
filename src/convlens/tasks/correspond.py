"""``task=correspond``: does the same part, covered, change different images' features alike (Fig 8, Table 1)?"""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor
from tqdm import tqdm

from convlens.analysis.correspondence.claims import PAPER, all_distances, correspondence_claim, draws_of_five
from convlens.analysis.correspondence.delta import (
    NONZERO,
    THREE,
    PartConsistency,
    random_masks,
    sign_changes,
    table_rows,
)
from convlens.analysis.galleries.selected_units import default_layers
from convlens.analysis.incremental.evaluate import OUTPUT
from convlens.analysis.occlusion.occluders import filling
from convlens.errors import InputError
from convlens.figures.map_rows import rows_sheet
from convlens.figures.png import save_png, write_arrays
from convlens.io.atomic import write_json
from convlens.ops.layer_access import check_outputs
from convlens.runs.image_selection import label_number
from convlens.runs.record import command_line
from convlens.runs.subject import LoadedNetwork, load_network, open_run
from convlens.runs.typed_settings import check_number
from convlens.stats.claims import Claim
from convlens.tasks.invariance import sort_layers

log = logging.getLogger(__name__)


def run(
    cfg: DictConfig,
    overrides: list[str],
    *,
    split: str,
    images: int,
    label: str | int | None,
    parts: Sequence[str],
    layers: Sequence[str] | None,
    random: int,
    fill: str | float,
    drawn: int,
) -> int:
    """Cover parts and random places, compare the signs of the changes, write ``results/correspondence``."""
    if not parts:
        raise InputError("task.parts is empty: give names of parts, such as nose")
    for name, value, least in (("images", images, 2), ("random", random, 1), ("drawn", drawn, 0)):
        check_number(f"task.{name}", value, least)
    with open_run(cfg, overrides, "correspond") as run_dir:
        subject = load_network(cfg, overrides)
        names = sort_layers(subject.net, layers or usual_layers(subject))
        if len(names) < 2:
            raise InputError(f"task.layers={names}: the claim compares a lower with an upper layer, give two")
        chosen = with_parts(subject, split, images, label, parts)
        loaded = subject.data.dataset(split)
        check_outputs(subject.net, loaded[chosen[0][0]][0][None], [name or None for name in names])
        pictures = [loaded[index][0] for index, _ in chosen]
        masks = [_masks(regions, parts, random, index) for index, regions in chosen]
        started = time.monotonic()
        with tqdm(desc="covered images", unit="image", total=len(masks) * len(masks[0]), disable=None) as bar:
            signs = sign_changes(
                subject.net, pictures, masks, names,
                lambda i: filling(fill, pictures[i], mean=subject.data.mean, std=subject.data.std, seed=chosen[i][0]),
                bar.update,
            )  # fmt: skip
        seconds = time.monotonic() - started
        tables = {one: table_rows(signs, parts, one) for one in (THREE, NONZERO)}
        claims = [correspondence_claim(signs, parts, names[0], names[-1], one) for one in tables]
        folder = run_dir / "results" / "correspondence"
        ids = [subject.data.image_id(split, index) for index, _ in chosen]
        arrays: dict[str, Any] = {f"signs/{layer or 'output'}": changes.numpy() for layer, changes in signs.items()}
        masks_kept = np.stack([torch.stack(list(own)).numpy() for own in masks])
        write_arrays(folder / "signs.npz", arrays | {"image_ids": np.array(ids), "masks": masks_kept})
        if drawn:
            sheet = _sheet(subject, pictures[:drawn], masks[:drawn], parts, fill)
            save_png(sheet, folder / "parts.png")
        result = _result(signs, tables, parts, claims, len(chosen), drawn)
        write_json(
            folder / "result.json",
            {**result, "seconds": round(seconds, 1), "command": command_line(overrides)},
        )
    log.info("%d images, %d parts, %d random places for each, %.0f s", len(chosen), len(parts), random, seconds)
    for row in result["tables"][0]["rows"]:
        log.info("  %s", "  ".join(str(cell) for cell in row))
    for claim in claims:
        log.info("claim 19, %s: %s, ratio %s", claim.about, claim.verdict, claim.estimate)
    log.info("results in %s", folder)
    return 0


def usual_layers(subject: LoadedNetwork) -> list[str]:
    """Layers 5 and 7 of our networks; else the last convolution before the classes, and the output."""
    modules = dict(subject.net.named_modules())
    upper = next((name for name in ("fc7", "fc6") if name in modules), OUTPUT)
    return ["layer5" if "layer5" in modules else default_layers(subject.net, subject.data.image_size)[-1], upper]


def with_parts(
    subject: LoadedNetwork, split: str, count: int, label: str | int | None, parts: Sequence[str]
) -> list[tuple[int, dict[str, Tensor]]]:
    """The first images of a split in which all parts and the object are known, with their regions.

    Raises:
        InputError: there are fewer than two.
    """
    data, found = subject.data, []
    labels = data.dataset(split).labels.tolist()
    wanted = label_number(subject, label)
    seen: set[str] = set()
    for index, own in enumerate(labels):
        if wanted is not None and own != wanted:
            continue
        regions = data.regions(split, index)
        seen |= set(regions)
        if all(part in regions and regions[part].any() for part in [*parts, "object"]):
            found.append((index, regions))
        if len(found) == count:
            return found
    if len(found) < 2:
        there = (
            f"known are {', '.join(sorted(seen))}" if seen else "the data know no parts: see data=parts, data=pointed"
        )
        raise InputError(
            f"{len(found)} {split} images show {', '.join(parts)} of an object: at least two are needed; {there}"
        )
    return found


def _masks(regions: Mapping[str, Tensor], parts: Sequence[str], random: int, index: int) -> list[Tensor]:
    """The parts, then random places in the object: for each part some that are as large."""
    own = [regions[part] for part in parts]
    areas = [int(part.sum()) for _ in range(random) for part in own]
    return [*own, *random_masks(regions["object"], areas, seed=index)]


def _sheet(
    subject: LoadedNetwork, pictures: Sequence[Tensor], masks: Sequence[Sequence[Tensor]], parts: Sequence[str],
    fill: str | float,
) -> Any:  # fmt: skip
    """Each image as it is, then with each part and some random places covered (Fig 8)."""
    names = ["original", *parts, *(f"random {n + 1}" for n in range(len(masks[0]) - len(parts)))]
    rows: dict[str, list[np.ndarray]] = {name: [] for name in names}
    columns: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for picture, own in zip(pictures, masks, strict=True):
        instead = filling(fill, picture, mean=subject.data.mean, std=subject.data.std)
        covered = torch.stack([picture, *(torch.where(mask, instead, picture) for mask in own)])
        shown = subject.data.to_display(covered).permute(0, 2, 3, 1).cpu().numpy()
        for name, image in zip(names, shown, strict=True):
            columns[name].append(image)
    for name in names:
        rows[name] = [np.stack(columns[name])]
    note = "Each column an image; what is covered in each row is grey."
    return rows_sheet(rows, [""], title=f"{subject.name}: parts and random places covered", note=note)


def _result(
    signs: Mapping[str, Tensor], tables: Mapping[str, Mapping[str, Mapping[str, PartConsistency]]],
    parts: Sequence[str], claims: Sequence[Claim], count: int, drawn: int,
) -> dict[str, Any]:  # fmt: skip
    """What the report reads."""
    shown = []
    for form, by_layer in tables.items():
        rows = []
        distances = {layer: all_distances(changes, form) for layer, changes in signs.items()}
        fives = {layer: draws_of_five(one) for layer, one in distances.items()}
        for number, part in enumerate([*parts, "random"]):
            row: list[Any] = [part]
            for layer in signs:
                row += _cells(by_layer[layer], fives[layer], distances[layer], number, part, len(parts))
            paper = PAPER.get(part) if form == THREE else None
            row.append(f"{paper[0]:.3f}, {paper[1]:.3f}" if paper else "")
            rows.append(row)
        columns = ["covered"]
        for layer in signs:
            name = layer or "output"
            columns += [f"Delta, {name}", f"of 5 images, {name}", f"d, {name}", f"p, {name}"]
        shown.append(
            {
                "title": f"Table 1, {form} signs: Delta over {count} images with its spread over pairs, and mean and "
                "spread over 200 draws of five; effect size d and permutation p against random places",
                "columns": [*columns, "paper, layers 5 and 7"],
                "rows": rows,
            }
        )
    return {
        "analysis": "correspondence",
        "title": "Does the same part do the same in different images?",
        "reproduces": "Table 1",
        "order": 60,
        "text": (
            "Delta is the mean, over pairs of images, of the share of a layer's dimensions that change in different "
            "directions when the same part is covered in both: low where the network treats the part alike. Random "
            "places are as large, and inside of the object as far as they fit."
        ),
        "numbers": [{"name": "images", "value": count}],
        "figures": [{"file": "parts.png", "key": "parts", "caption": "what was covered"}] if drawn else [],
        "tables": shown,
        "claims": [claim.as_json() for claim in claims],
    }


def _cells(
    of_parts: Mapping[str, PartConsistency], fives: Sequence[tuple[float, float]], distances: Sequence[np.ndarray],
    number: int, part: str, count: int,
) -> list[str]:  # fmt: skip
    """Delta, that of five images, effect and p of a part; of the random places Delta only."""
    if part in of_parts:
        found = of_parts[part]
        mean, spread = fives[number]
        return [
            f"{found.delta:.3f} ± {found.spread:.3f}", f"{mean:.3f} ± {spread:.3f}",
            f"{found.effect:.2f}", f"{found.p:.4f}",
        ]  # fmt: skip
    off = ~np.eye(len(distances[0]), dtype=bool)
    pairs = np.concatenate([one[off] for one in distances[count:]])
    mean, spread = (float(np.mean([five[i] for five in fives[count:]])) for i in (0, 1))
    return [f"{np.nanmean(pairs):.3f} ± {np.nanstd(pairs):.3f}", f"{mean:.3f} ± {spread:.3f}", "", ""]

"""``task=occlude``: what a network makes of partly covered images, and whether it looks at the object (Fig 7)."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor
from tqdm import tqdm

from convlens import runs
from convlens.analysis.chosen_maps import default_layers
from convlens.analysis.claims import Claim
from convlens.analysis.faithfulness import Faithfulness, faithfulness, faithfulness_claims, pictures
from convlens.analysis.fillings import filling
from convlens.analysis.localisation import Localisation, localisation_claim, localise
from convlens.analysis.occlusion import OcclusionMaps, occlude, places, usual_square
from convlens.deconv.layers import check_outputs, like_parameters
from convlens.deconv.telling import say_once
from convlens.errors import NoReLUError
from convlens.figures.files import save_png, write_arrays
from convlens.figures.occlusion import OccludedImage, occlusion_sheet
from convlens.files import write_json
from convlens.runs import Subject
from convlens.tasks.looking import Choice, Looked, class_namer, look
from convlens.tasks.others import Elsewhere
from convlens.tasks.settings import check_number

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Covered:
    """An image with all that was found of it."""

    looked: Looked
    maps: OcclusionMaps
    localisation: Localisation | None
    faithfulness: Faithfulness | None
    box: tuple[int, int, int, int] | None


def run(
    cfg: DictConfig,
    overrides: list[str],
    *,
    size: int | None,
    stride: int | None,
    fill: str | float,
    layer: str | None,
    drawn: int,
    others: int,
    **choice: Any,
) -> int:
    """Cover the images, draw some of them, decide the claims, write ``results/occlusion``.

    The other settings are those of ``Choice``.
    """
    chosen = Choice(**choice)
    for name, value, least in (("size", size, 1), ("stride", stride, 1)):
        check_number(f"task.{name}", value, least, optional=True)
    check_number("task.drawn", drawn, 0)
    check_number("task.others", others, 0)
    with runs.analysing(cfg, overrides, "occlude") as run_dir:
        subject = runs.subject(cfg, overrides)
        side = subject.data.image_size
        usual = usual_square(side)
        square = (usual[0] if size is None else size, usual[1] if stride is None else stride)
        count = len(places(side, *square)) ** 2
        layer = layer or default_layers(subject.net, subject.data.image_size)[-1]
        looked = look(subject, chosen)
        started = time.monotonic()
        covered, width = [], _maps_of(subject, layer)
        with tqdm(desc="squares", unit="square", total=count * len(looked), disable=None) as bar:
            for item in looked:
                instead = filling(fill, item.image, mean=subject.data.mean, std=subject.data.std, seed=item.index)
                maps = occlude(
                    subject.net, item.image, item.target, size=square[0], stride=square[1],
                    value=instead, layer=layer, step=bar.update,
                )  # fmt: skip
                covered.append(_covered(subject, chosen.split, item, maps, layer, width, chosen.target == "label"))
        seconds = time.monotonic() - started
        folder = run_dir / "results" / "occlusion"
        _write(subject, chosen, covered, layer, folder, (drawn, others), fill)
        claims = _claims(covered, layer)
        result = _result(subject, covered, claims, layer, square, seconds, drawn > 0)
        write_json(folder / "result.json", {**result, "command": runs.command_line(overrides)})
    log.info("%d images, %d squares each, %.0f s: %.2f ms per square", len(looked), count, seconds,
             1000 * seconds / count / len(looked))  # fmt: skip
    for claim in claims:
        log.info("claim %d: %s %s (%s)", claim.number, claim.verdict, claim.estimate, claim.statistic)
    log.info("results in %s", folder)
    return 0


def _covered(
    subject: Subject, split: str, item: Looked, maps: OcclusionMaps, layer: str, width: int, of_label: bool
) -> Covered:
    """What one image's maps say of the claims."""
    regions = subject.data.regions(split, item.index)
    # Of several objects those of the true class, where the data tell them apart.
    thing = regions.get(subject.data.class_names[item.label] if of_label else "object", regions.get("object"))
    assert maps.map is not None
    rng = np.random.default_rng(item.index)
    other = (maps.map + 1 + int(rng.integers(max(1, width - 1)))) % width
    try:
        energies = pictures(subject.net, item.image, layer, maps.map, other)
    except NoReLUError as error:
        say_once(subject.net, log, f"claims 1 and 2 need projections, which {subject.name} has not: {error}")
        energies = {}
    box = None if thing is None else _bounds(thing)
    return Covered(
        item,
        maps,
        None if thing is None else localise(maps, thing),
        faithfulness(maps, energies) if energies else None,
        box,
    )


def _maps_of(subject: Subject, layer: str) -> int:
    """How many maps a layer has."""
    size = subject.data.image_size
    images = like_parameters(subject.net, torch.zeros(1, 3, size, size))
    return check_outputs(subject.net, images, [layer])[layer][0]


def _bounds(mask: Tensor) -> tuple[int, int, int, int] | None:
    rows, columns = mask.any(1).nonzero().flatten().tolist(), mask.any(0).nonzero().flatten().tolist()
    return (rows[0], columns[0], rows[-1] + 1, columns[-1] + 1) if rows else None


def _claims(covered: Sequence[Covered], layer: str) -> list[Claim]:
    """What all images together decide."""
    faithful = [item.faithfulness for item in covered if item.faithfulness]
    claims = faithfulness_claims(faithful, layer) if faithful else []
    if local := [item.localisation for item in covered if item.localisation]:
        claims.append(localisation_claim(local, ""))
    return claims


def _write(
    subject: Subject, choice: Choice, covered: Sequence[Covered], layer: str, folder: Path, drawn: tuple[int, int],
    fill: str | float,
) -> None:  # fmt: skip
    """Arrays of all images, and the figure of some."""
    first = covered[0].maps
    write_arrays(
        folder / "maps.npz",
        {
            "tops": first.tops.numpy(),
            "lefts": first.lefts.numpy(),
            "size": np.array(first.size),
            "images": np.array([item.looked.index for item in covered]),
            "image_ids": np.array([subject.data.image_id(choice.split, item.looked.index) for item in covered]),
            "targets": np.array([item.looked.target for item in covered]),
            "layer": np.array(layer),
            "map": np.array([item.maps.map for item in covered]),
            **{
                name: torch.stack([torch.as_tensor(getattr(item.maps, name)) for item in covered]).cpu().numpy()
                for name in ("probability", "label", "activation", "clean_probability", "clean_activation")
            },
        },
    )
    if not drawn[0]:
        return
    elsewhere = Elsewhere(subject, layer, choice.split, drawn[1])
    name = class_namer(subject, choice.outputs)
    rows = [_row(subject, name, item, elsewhere, layer, fill) for item in covered[: drawn[0]]]
    title = f"{subject.name}: a square of {first.size} px covers {len(first.tops)} x {len(first.lefts)} places"
    save_png(occlusion_sheet(rows, title=title), folder / "occlusion.png")


def _row(
    subject: Subject, name: Callable[[int], str], item: Covered, elsewhere: Elsewhere, layer: str, fill: str | float
) -> OccludedImage:
    maps, looked = item.maps, item.looked
    assert maps.probability is not None
    assert maps.label is not None
    assert maps.activation is not None
    assert maps.map is not None
    worst = int(maps.probability.argmin())
    top, left = int(maps.tops[worst // len(maps.lefts)]), int(maps.lefts[worst % len(maps.lefts)])
    shown = filling(fill, looked.image, mean=subject.data.mean, std=subject.data.std, seed=looked.index)
    both = subject.data.to_display(torch.stack([looked.image, shown])).permute(0, 2, 3, 1).numpy()
    colour = both[1, top : top + maps.size, left : left + maps.size].mean((0, 1)).round().astype(int)
    middles = [int(axis[end]) + maps.size / 2 - 0.5 for axis in (maps.tops, maps.lefts) for end in (0, -1)]
    names = {int(n): name(int(n)) for n in maps.label.unique()}
    return OccludedImage(
        both[0],
        (top, left, maps.size),
        (int(colour[0]), int(colour[1]), int(colour[2])),
        name(looked.target),
        (middles[0], middles[1], middles[2], middles[3]),
        maps.activation.cpu().numpy(),
        f"{layer}, map {maps.map}",
        elsewhere.tiles(looked, maps.map),
        maps.probability.cpu().numpy(),
        maps.label.cpu().numpy(),
        names,
        item.box,
    )


def _result(
    subject: Subject, covered: Sequence[Covered], claims: Sequence[Claim], layer: str, square: tuple[int, int],
    seconds: float, drawn: bool,
) -> dict[str, Any]:  # fmt: skip
    """What the report reads."""
    found = [item.localisation for item in covered if item.localisation]
    numbers: list[dict[str, Any]] = [{"name": "images", "value": len(covered)}]
    flips = [float(torch.ne(item.maps.label, item.maps.clean_label).float().mean()) for item in covered]  # type: ignore[arg-type]
    numbers.append({"name": "places where the prediction changes", "value": 100 * float(np.mean(flips)), "unit": "%"})
    if found:
        hits = 100 * float(np.mean([item.hit for item in found]))
        numbers.append({"name": "pointing game: worst place is on the object", "value": hits, "unit": "%"})
    return {
        "analysis": "occlusion",
        "title": "What a covered square does",
        "reproduces": "Fig 7",
        "order": 40,
        "text": (
            f"A square of {square[0]} px, moved by {square[1]} px, covers the image at each place inside of it. "
            f"(b) the sum over space of the map of {layer} that responds most strongly to the whole image, (c) its "
            "projection here (framed) and in its three strongest other images, (d) the probability of the class, (e) "
            "the predicted class; each value at the square's middle. In (a) the square is where the probability is "
            "lowest, the frame is the object."
        ),
        "numbers": numbers,
        "figures": [{"file": "occlusion.png", "key": "occlusion", "caption": subject.name}] if drawn else [],
        "tables": [],
        "claims": [claim.as_json() for claim in claims],
        "seconds": round(seconds, 1),
    }

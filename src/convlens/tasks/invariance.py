"""``task=invariance``: images moved, enlarged and turned; how features and outputs change (Fig 5)."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from tqdm import tqdm

from convlens.analysis.galleries.selected_units import default_layers
from convlens.analysis.incremental.evaluate import OUTPUT
from convlens.analysis.invariance.claims import flips, invariance_claims
from convlens.analysis.invariance.curves import FORMS, Invariance, invariance
from convlens.analysis.invariance.transforms import Border, amounts, transform
from convlens.errors import InputError
from convlens.figures.invariance import TransformedImages, invariance_sheet, layers_sheet
from convlens.figures.png import save_png, write_arrays
from convlens.io.atomic import write_json
from convlens.runs.image_selection import ImageSelection, SelectedImage, class_namer, select_images
from convlens.runs.record import command_line
from convlens.runs.subject import LoadedNetwork, load_network, open_run
from convlens.runs.typed_settings import check_number

log = logging.getLogger(__name__)

THUMBNAILS = 8


def run(
    cfg: DictConfig,
    overrides: list[str],
    *,
    kinds: Sequence[str] | str,
    steps: int,
    layers: Sequence[str] | str | None,
    border: Border,
    form: str,
    symmetric: Sequence[str] | None,
    drawn: int,
    **choice: Any,
) -> int:
    """Transform the images, compare, draw, decide the claims, write ``results/invariance``.

    The other settings are those of ``Choice``.
    """
    check_number("task.steps", steps, 3)
    check_number("task.drawn", drawn, 0)
    kinds = [kinds] if isinstance(kinds, str) else list(kinds)
    if not kinds:
        raise InputError("task.kinds is empty: give translation, scale or rotation")
    if form not in FORMS:
        raise InputError(f"task.form={form!r}: choose one of {', '.join(FORMS)}")
    chosen = ImageSelection(**choice)
    with open_run(cfg, overrides, "invariance") as run_dir:
        subject = load_network(cfg, overrides)
        names = sort_layers(subject.net, [layers] if isinstance(layers, str) else list(layers or all_layers(subject)))
        looked = select_images(subject, chosen)
        side = subject.data.image_size
        values = {kind: amounts(kind, side, steps) for kind in kinds}
        pixels = sources(subject, chosen.split, looked, border)
        started = time.monotonic()
        found: dict[str, Invariance] = {}
        total = len(looked) * sum(len(v) for v in values.values())
        with tqdm(desc="transformed images", unit="image", total=total, disable=None) as bar:
            for kind in kinds:
                found[kind] = invariance(
                    subject.net, pixels, [item.target for item in looked], names, kind, values[kind],
                    border=border, size=side, preprocess=reader(subject), step=bar.update,
                )  # fmt: skip
        seconds = time.monotonic() - started
        folder = run_dir / "results" / "invariance"
        if strangers := set(symmetric or ()) - set(subject.data.class_names):
            raise InputError(f"task.symmetric: {sorted(strangers)[0]!r} is no class of the data")
        known = None if symmetric is None else [subject.data.class_names[item.label] in symmetric for item in looked]
        claims = invariance_claims(found, names[0], names[-1], side, known)
        _write(subject, chosen, looked, pixels, found, folder, (border, form, drawn))
        result = _result(subject, found, names, border, form, seconds, drawn)
        write_json(
            folder / "result.json",
            {**result, "claims": [claim.as_json() for claim in claims], "command": command_line(overrides)},
        )
    log.info("%d images, %d amounts, %d layers, %.0f s", len(looked), total // len(looked), len(names), seconds)
    for claim in claims:
        log.info("claim %d, %s: %s, %s", claim.number, claim.about or "all kinds", claim.verdict, claim.estimate)
    log.info("results in %s", folder)
    return 0


def all_layers(subject: LoadedNetwork) -> list[str]:
    """The convolutional layers, and in our networks the rectified vectors above them."""
    modules = dict(subject.net.named_modules())
    return [
        *default_layers(subject.net, subject.data.image_size),
        *(name for name in ("fc6", "fc7") if name in modules),
    ]


def sort_layers(net: nn.Module, layers: Sequence[str]) -> list[str]:
    """Layers from below to above, each once; the output (an empty name) is the last."""
    order = {name: number for number, (name, _) in enumerate(net.named_modules())} | {OUTPUT: len(list(net.modules()))}
    return sorted(dict.fromkeys(layers), key=lambda name: order.get(name, -1))


def sources(subject: LoadedNetwork, split: str, looked: Sequence[SelectedImage], border: Border) -> list[Tensor]:
    """The images' pixels: what the network sees of them, or with the border ``source`` all that is stored."""
    if border == "source":
        stored = subject.data.dataset(split).stored([item.index for item in looked])
        return [image.float() for image in stored]
    return [image.float() for image in subject.data.to_display(torch.stack([item.image for item in looked]))]


def reader(subject: LoadedNetwork) -> Any:
    """From pixels to what the network reads."""
    mean, std = subject.data.mean, subject.data.std[:, None, None]
    return lambda pixels: (pixels - mean.to(pixels)) / std.to(pixels)


def _write(
    subject: LoadedNetwork, choice: ImageSelection, looked: Sequence[SelectedImage], pixels: Sequence[Tensor], found: dict[str, Invariance],
    folder: Path, shown: tuple[Border, str, int],
) -> None:  # fmt: skip
    """Arrays and figures."""
    border, form, drawn = shown
    layers = list(next(iter(found.values())).distance)
    for kind, one in found.items():
        arrays: dict[str, Any] = {f"{form}/{x}": d.numpy() for x, ds in one.distance.items() for form, d in ds.items()}
        arrays |= {f"apart/{layer}": np.array(value) for layer, value in one.apart.items()}
        ids = [subject.data.image_id(choice.split, item.index) for item in looked]
        arrays |= {
            "values": one.values, "image_ids": np.array(ids), "targets": np.array([item.target for item in looked]),
            "probability": one.probability.numpy(), "label": one.label.numpy(),
            "clean_probability": one.clean_probability.numpy(), "clean_label": one.clean_label.numpy(),
        }  # fmt: skip
        write_arrays(folder / f"{kind}.npz", arrays)
    values = {kind: one.values for kind, one in found.items()}
    distances = {kind: {layer: one.distance[layer][form].numpy() for layer in layers} for kind, one in found.items()}
    label = {"raw": "distance", "relative": "distance / norm", "unit": "distance at unit length"}[form]
    title = f"{subject.name}: mean over {len(looked)} images, band: standard error"
    save_png(layers_sheet(distances, values, y_label=label, title=title), folder / "layers.png")
    outputs = {kind: {"P(class)": one.probability.numpy()} for kind, one in found.items()}
    save_png(layers_sheet(outputs, values, y_label="probability of the class", title=title), folder / "output.png")
    if drawn:
        rows = [
            _row(subject, choice, looked[:drawn], pixels, one, (layers[0], layers[-1]), label, (border, form))
            for one in found.values()
        ]
        save_png(invariance_sheet(rows, title=f"{subject.name}: {len(looked[:drawn])} images"), folder / "images.png")


def _row(
    subject: LoadedNetwork, choice: ImageSelection, looked: Sequence[SelectedImage], pixels: Sequence[Tensor], one: Invariance,
    layers: tuple[str, str], label: str, shown: tuple[Border, str],
) -> TransformedImages:  # fmt: skip
    border, form = shown
    few = one.values[np.linspace(0, len(one.values) - 1, min(THUMBNAILS, len(one.values))).round().astype(int)]
    pictures = []
    for _, source in zip(looked, pixels, strict=False):
        moved = transform(source, one.kind, few, border=border, size=subject.data.image_size)
        small = torch.nn.functional.interpolate(moved, size=(56, 56), mode="bilinear", antialias=True)
        pictures.append(small.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy())
    panels = {f"{layer}: {label}": one.distance[layer][form][: len(looked)].numpy() for layer in layers}
    panels["probability of the class"] = one.probability[: len(looked)].numpy()
    name = class_namer(subject, choice.outputs)
    names = [name(item.target) for item in looked]
    return TransformedImages(one.kind, one.values, names, np.stack(pictures), panels)


def _result(
    subject: LoadedNetwork, found: dict[str, Invariance], layers: Sequence[str], border: str, form: str, seconds: float,
    drawn: int,
) -> dict[str, Any]:  # fmt: skip
    """What the report reads."""
    figures = [
        {"file": "layers.png", "key": "layers", "caption": f"distance by layer ({form}), mean of all images"},
        {"file": "output.png", "key": "output", "caption": "probability of the class, mean of all images"},
    ]
    images = [{"file": "images.png", "key": "images", "caption": "single images, as in the paper"}] if drawn else []
    rows = [
        [layer, *(float(np.nanmean(one.distance[layer]["relative"].numpy())) for one in found.values())]
        for layer in layers
    ]
    return {
        "analysis": "invariance",
        "title": "What moving, enlarging and turning change",
        "reproduces": "Fig 5",
        "order": 50,
        "text": (
            "Distances between the features of the original and of the transformed image, and the probability of the "
            f"class. What comes in from outside: {border}. The paper does not say how it scales its distances: here "
            f"they are drawn {form}, and all three forms are in the arrays."
        ),
        "numbers": [
            {"name": f"top class changes, {kind}", "value": flips(one), "unit": "%"} for kind, one in found.items()
        ],
        "figures": [*images, *figures],
        "tables": [
            {
                "title": "Mean relative distance over all amounts",
                "columns": ["layer", *found],
                "rows": rows,
            }
        ],
        "seconds": round(seconds, 1),
    }

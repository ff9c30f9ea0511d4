"""A gallery's sheets, arrays and table rows, from its pictures on disk."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from convlens.analysis.galleries.gallery import OWN, Gallery, ProjectionVariant
from convlens.analysis.galleries.sanity_checks import OTHER, RANDOM
from convlens.analysis.galleries.selected_units import SelectedUnits
from convlens.figures.image_grid import common_gain, signed_to_uint8, to_rgb
from convlens.figures.map_rows import boxed, rows_sheet
from convlens.figures.png import write_arrays
from convlens.figures.text import ACCENT, number
from convlens.io.atomic import replacing

TABLE_COLUMNS = ["layer", "map", "rank", "image", "label", "activation", "patch", "projection", "where"]
TABLE_MAPS = 16
CONTROL_MAPS = 4
NAMES = {RANDOM: "random weights", OTHER: "another map", OWN: "projection"}


def keep_arrays(gallery: Gallery, chosen: SelectedUnits, data: Any, job: Any, folder: Path) -> None:
    """Write ``<layer>.npz``: values, images, labels, places and boxes; and, if asked for, the pictures as arrays."""
    labels = data.dataset(job.split).labels.numpy()
    images = chosen.images.numpy()
    seen = images >= 0
    ids = [[data.image_id(job.split, int(i)) if i >= 0 else "" for i in row] for row in images]
    arrays = {
        "maps": chosen.maps.numpy(),
        "values": chosen.values.numpy(),
        "images": images,
        "image_ids": np.array(ids),
        "labels": np.where(seen, labels[np.where(seen, images, 0)], -1),
        "positions": chosen.positions.numpy(),
        "boxes": chosen.boxes.numpy(),
    }
    own = gallery.views[0]
    if job.keep:
        # They can be large, so they are linked, not packed or copied; the work in progress stays whole meanwhile.
        arrays["scales"] = np.array(gallery.pictures(chosen, own).scales)
        for name, kept in ((f"{chosen.layer}.{own.name}", "projections"), (f"{chosen.layer}.patches", "patches")):
            with replacing(folder / f"{chosen.layer}.{kept}.npy") as link:
                os.link(gallery.folder / f"{name}.npy", link)
    write_arrays(folder / f"{chosen.layer}.npz", arrays)


def table_rows(gallery: Gallery, chosen: SelectedUnits, data: Any, split: str) -> list[list[Any]]:
    """A row per activation above zero of the first maps, with its pictures as PIL images."""
    own, patches = gallery.pictures(chosen, gallery.views[0]), gallery.patches(chosen)
    alive = chosen.alive.numpy()
    gain = common_gain(own, alive)
    rows = []
    tiles = [to_rgb(signed_to_uint8(own[m], gain)) for m in range(min(len(own), TABLE_MAPS))]
    for m, r in np.argwhere(alive[:TABLE_MAPS]).tolist():
        pictures = [Image.fromarray(to_rgb(patches[m][r])), Image.fromarray(tiles[m][r])]
        image, label, where = _whole(gallery, chosen, data, split, m, r)
        activation = float(chosen.values[m, r])
        rows.append([chosen.layer, int(chosen.maps[m]), r + 1, image, label, activation, *pictures, where])
    return rows


def _whole(
    gallery: Gallery, chosen: SelectedUnits, data: Any, split: str, m: int, r: int
) -> tuple[str, str, Image.Image]:
    """Name and label of an activation's image, and the image with the receptive field in it."""
    number = int(chosen.images[m, r])
    image, label = gallery.dataset[number]
    picture = to_rgb(gallery.to_display(image[None]).cpu().numpy()[0])
    where = boxed(picture, chosen.box(m, r), ACCENT)
    return data.image_id(split, number), data.class_names[int(label)], where


def context_sheet(gallery: Gallery, chosen: SelectedUnits, data: Any, job: Any, title: str) -> Image.Image | None:
    """Some maps' projections above their patches and the whole images; None where all maps are dead."""
    living = [m for m in range(len(chosen.maps)) if chosen.alive[m].any()][: job.detailed]
    if not living:
        return None
    own, patches, alive = gallery.pictures(chosen, gallery.views[0]), gallery.patches(chosen), chosen.alive.numpy()
    gain = common_gain(own, alive)
    rows: dict[str, list[np.ndarray]] = {"projection": [], "patch": [], "where": []}
    captions = []
    for m in living:
        count = int(alive[m].sum())
        found = [_whole(gallery, chosen, data, job.split, m, r) for r in range(count)]
        rows["projection"].append(to_rgb(signed_to_uint8(own[m][:count], gain)))
        rows["patch"].append(to_rgb(patches[m][:count]))
        rows["where"].append(np.stack([np.asarray(picture) for _, _, picture in found]))
        values = chosen.values[m].tolist()
        captions.append([f"{number(values[r])}\n{label}" for r, (_, label, _) in enumerate(found)])
    note = (
        "Each column an image, strongest first: the activation projected to the pixels (grey is zero, one gain for "
        "all), the patch in its receptive field, where that is in the image; below, the activation and the label."
    )
    headings = [f"map {int(chosen.maps[m])}" for m in living]
    return rows_sheet(rows, headings, captions=captions, title=title, note=note)


def controls_sheet(gallery: Gallery, chosen: SelectedUnits, title: str) -> Image.Image | None:
    """Some maps' nine activations by each rule and under each control; None where all maps are dead."""
    controls = gallery.views[1:]
    shown = controls[0].rows(chosen)
    living = [i for i, m in enumerate(shown) if chosen.alive[m].any()][:CONTROL_MAPS]
    if not living:
        return None
    patches = gallery.patches(chosen)
    counts = {i: int(chosen.alive[shown[i]].sum()) for i in living}
    rows = {"patch": [to_rgb(patches[shown[i]][: counts[i]]) for i in living]}
    for view in gallery.views:
        # A control's rows are those of its own maps, the gallery's those of all.
        places = [shown[i] if view.name == OWN else i for i in living]
        rows[_name(view)] = list(_tiles(gallery, chosen, view, places, [counts[i] for i in living]))
    note = (
        "The same activations by each rule, another map's unit at the same place, and under weights in random order. "
        "Grey is zero; each row has its own gain, since the rules differ in scale."
    )
    return rows_sheet(
        rows, [f"map {int(chosen.maps[shown[i]])}" for i in living], title=f"{title}: controls", note=note
    )


def _name(view: ProjectionVariant) -> str:
    return view.options.get("rule", "deconvnet") if view.name == OWN else NAMES.get(view.name, view.name)


def _tiles(
    gallery: Gallery, chosen: SelectedUnits, view: ProjectionVariant, places: list[int], counts: list[int]
) -> Iterator[np.ndarray]:
    stored = gallery.pictures(chosen, view)
    pictures = [stored[place][:count] for place, count in zip(places, counts, strict=True)]
    for picture in pictures:
        gain = common_gain([picture], np.ones((1, len(picture)), bool))
        yield to_rgb(signed_to_uint8(picture, gain))

"""Sheets, arrays and table rows of a gallery, from its projections and patches on disk."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from convlens.analysis.galleries.gallery import Gallery
from convlens.analysis.galleries.image_data import GalleryData
from convlens.analysis.galleries.job import GalleryJob, TableRow
from convlens.analysis.galleries.sanity_checks import CENTRE, OTHER, RANDOM
from convlens.analysis.galleries.selected_units import SelectedUnits
from convlens.analysis.galleries.variants import OWN, ProjectionVariant
from convlens.figures.image_grid import common_gain, signed_to_uint8, to_rgb
from convlens.figures.map_rows import draw_box, rows_sheet
from convlens.figures.text import ACCENT, number
from convlens.io.arrays import seal, write_arrays
from convlens.io.atomic import replacing

TABLE_COLUMNS = ["layer", "map", "rank", "image", "label", "activation", "patch", "projection", "where"]
TABLE_MAPS = 16
"""Maps per layer in the loggers' table, at most."""
CONTROL_MAPS = 4
"""Maps per layer on the sheet of controls, at most."""
ROW_NAMES = {RANDOM: "random weights", OTHER: "another map", CENTRE: "no switches"}


def write_layer_arrays(
    gallery: Gallery, selected: SelectedUnits, data: GalleryData, job: GalleryJob, folder: Path
) -> None:
    """Write ``<layer>.npz`` and, if the job keeps them, projections and patches as npy files.

    The npz holds ``maps`` [maps]; ``values``, ``images``, ``image_ids``, ``labels`` [maps, k]; ``positions``
    [maps, k, 2]; ``boxes`` [maps, k, 4] in input pixels; and the projections' ``scales`` [maps, k] if they are kept.
    """
    labels = data.dataset(job.split).labels.numpy()
    images = selected.images.numpy()
    known = images >= 0
    ids = [[data.image_id(job.split, int(i)) if i >= 0 else "" for i in row] for row in images]
    arrays = {
        "maps": selected.maps.numpy(),
        "values": selected.values.numpy(),
        "images": images,
        "image_ids": np.array(ids),
        "labels": np.where(known, labels[np.where(known, images, 0)], -1),
        "positions": selected.positions.numpy(),
        "boxes": selected.boxes.numpy(),
    }
    own = gallery.variants[0]
    if job.keep:
        # These files can be large: they are linked instead of copied, and the work in progress stays complete.
        arrays["scales"] = np.array(gallery.projections(selected, own).scales)
        for work, final in ((f"{selected.layer}.{own.name}", "projections"), (f"{selected.layer}.patches", "patches")):
            with replacing(folder / f"{selected.layer}.{final}.npy") as link:
                os.link(gallery.folder / f"{work}.npy", link)
                seal(link)
    write_arrays(folder / f"{selected.layer}.npz", arrays)


def table_rows(gallery: Gallery, selected: SelectedUnits, data: GalleryData, split: str) -> list[TableRow]:
    """Return a row of the loggers' table for each activation above zero of the first maps."""
    own, patches = gallery.projections(selected, gallery.variants[0]), gallery.patches(selected)
    active = selected.active.numpy()
    gain = common_gain(own, active)
    rows: list[TableRow] = []
    tiles = [to_rgb(signed_to_uint8(own[row], gain)) for row in range(min(len(own), TABLE_MAPS))]
    for row, rank in np.argwhere(active[:TABLE_MAPS]).tolist():
        pictures = [Image.fromarray(to_rgb(patches[row][rank])), Image.fromarray(tiles[row][rank])]
        image, label, where = _image_with_box(gallery, selected, data, split, row, rank)
        activation = float(selected.values[row, rank])
        rows.append(
            [
                selected.layer,
                int(selected.maps[row]),
                rank + 1,
                image,
                label,
                activation,
                *pictures,
                Image.fromarray(where),
            ]
        )
    return rows


def _image_with_box(
    gallery: Gallery, selected: SelectedUnits, data: GalleryData, split: str, row: int, rank: int
) -> tuple[str, str, UInt8[np.ndarray, "h w 3"]]:
    """Return the name, the label and the picture of an activation's image, with its receptive field outlined."""
    index = int(selected.images[row, rank])
    image, label = gallery.dataset[index]
    picture = to_rgb(gallery.to_display(image[None]).cpu().numpy()[0])
    outlined = np.asarray(draw_box(picture, selected.box(row, rank), ACCENT))
    return data.image_id(split, index), data.class_names[int(label)], outlined


def context_sheet(
    gallery: Gallery, selected: SelectedUnits, data: GalleryData, job: GalleryJob, title: str
) -> Image.Image | None:
    """Draw projections, patches and whole images of some maps; None if all maps are dead."""
    shown = [row for row in range(len(selected.maps)) if selected.active[row].any()][: job.detailed]
    if not shown:
        return None
    own, patches = gallery.projections(selected, gallery.variants[0]), gallery.patches(selected)
    active = selected.active.numpy()
    gain = common_gain(own, active)
    rows: dict[str, list[np.ndarray]] = {"projection": [], "patch": [], "where": []}
    captions = []
    for row in shown:
        count = int(active[row].sum())
        images = [_image_with_box(gallery, selected, data, job.split, row, rank) for rank in range(count)]
        rows["projection"].append(to_rgb(signed_to_uint8(own[row][:count], gain)))
        rows["patch"].append(to_rgb(patches[row][:count]))
        rows["where"].append(np.stack([picture for _, _, picture in images]))
        values = selected.values[row].tolist()
        captions.append([f"{number(values[rank])}\n{label}" for rank, (_, label, _) in enumerate(images)])
    note = (
        "Each column is an image, strongest first: the activation projected to the pixels (grey is zero, one gain for "
        "all), the patch in its receptive field, and the receptive field in the image; below, activation and label."
    )
    headings = [f"map {int(selected.maps[row])}" for row in shown]
    return rows_sheet(rows, headings, captions=captions, title=title, note=note)


def controls_sheet(gallery: Gallery, selected: SelectedUnits, title: str) -> Image.Image | None:
    """Draw some maps' strongest activations by each rule and with each control; None if all maps are dead."""
    compared = gallery.variants[1].rows(selected)
    shown = [index for index, row in enumerate(compared) if selected.active[row].any()][:CONTROL_MAPS]
    if not shown:
        return None
    patches = gallery.patches(selected)
    counts = [int(selected.active[compared[index]].sum()) for index in shown]
    pictures = {"patch": [to_rgb(patches[compared[index]][:count]) for index, count in zip(shown, counts, strict=True)]}
    for variant in gallery.variants:
        # A control's files have rows of its own maps only, the gallery's own files those of all.
        rows = [compared[index] if variant.name == OWN else index for index in shown]
        pictures[_row_name(variant)] = list(_tiles(gallery, selected, variant, rows, counts))
    note = (
        "The same activations by each rule and without switches, another map's unit at the same position, and with "
        "randomized weights. "
        "Grey is zero; each row has its own gain, since the rules differ in scale."
    )
    headings = [f"map {int(selected.maps[compared[index]])}" for index in shown]
    return rows_sheet(pictures, headings, title=f"{title}: controls", note=note)


def _row_name(variant: ProjectionVariant) -> str:
    own_rule = variant.options.get("rule", "deconvnet")
    return own_rule if variant.name == OWN else ROW_NAMES.get(variant.name, variant.name)


def _tiles(
    gallery: Gallery, selected: SelectedUnits, variant: ProjectionVariant, rows: list[int], counts: list[int]
) -> Iterator[UInt8[np.ndarray, "k h w 3"]]:
    """Yield each map's projections as pictures with one gain per map."""
    stored = gallery.projections(selected, variant)
    for row, count in zip(rows, counts, strict=True):
        projections = stored[row][:count]
        gain = common_gain([projections], np.ones((1, len(projections)), bool))
        yield to_rgb(signed_to_uint8(projections, gain))

"""The request for a gallery (`GalleryJob`) and the files and numbers that come of it (`GalleryFiles`)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from convlens.analysis.galleries.network_statistics import NetworkStatistics
from convlens.analysis.galleries.sanity_checks import Controls
from convlens.deconv.project import ProjectOptions
from convlens.ops.tensor_repr import summary

TableRow = Sequence[str | int | float | Image.Image]


@dataclass(frozen=True)
class GalleryJob:
    """A request for the strongest activations of some layers with their projections.

    Attributes:
        layers: names of the layers.
        split: split of the data that is searched.
        maps: how many of a layer's maps are projected, a fixed random choice; None is all.
        images: search only the first so many images; None searches all.
        k: activations per map.
        rules: options of `convlens.project`.
        detailed: how many maps per layer are also shown with their whole images.
        controls: how many maps per layer are compared with controls, which decides claims; 0 is none, None is all.
        control: which layers of the control networks are randomized, such as ``random``; ``none`` is no such network.
        max_images: number of images that are held at once with their maps, which bounds the memory; see `Gallery`.
        table: make the rows of the loggers' table, which takes time.
        keep: keep projections and patches as arrays.
    """

    layers: Sequence[str]
    split: str
    maps: int | None
    images: int | None = None
    k: int = 9
    rules: ProjectOptions = field(default_factory=lambda: ProjectOptions())
    detailed: int = 0
    controls: int | None = 0
    control: str = "none"
    max_images: int | None = None
    table: bool = True
    keep: bool = False


@dataclass
class GalleryFiles:
    """The files and numbers of a gallery.

    Attributes:
        sheets: path of each layer's sheet of projections and patches.
        contexts: path of each layer's sheet with the whole images.
        control_sheets: path of each layer's sheet of controls.
        controls: each layer's comparison with its controls.
        by_layer: path of the figure of the claims' statistics by layer; None without controls.
        statistics: what claims are decided from; None without controls.
        control_statistics: the same of the control networks, by name; that of the last one takes part in verdicts.
        rows: rows of the loggers' table, as `sheets.TABLE_COLUMNS` names them.
        dead: percentage of each layer's maps that are dead: no image activates them above zero.
        seconds: duration of each step; of this attempt only if an interrupted one was continued.
    """

    sheets: dict[str, Path] = field(default_factory=dict)
    contexts: dict[str, Path] = field(default_factory=dict)
    control_sheets: dict[str, Path] = field(default_factory=dict)
    controls: dict[str, Controls] = field(default_factory=dict)
    by_layer: Path | None = None
    statistics: NetworkStatistics | None = None
    control_statistics: dict[str, NetworkStatistics] = field(default_factory=dict)
    rows: list[TableRow] = field(default_factory=list)
    dead: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    __repr__ = summary

"""The paper's figures and tables in their order, each with the paper's numbers and ours."""

from collections.abc import Sequence
from dataclasses import dataclass

from convlens.report.format import number
from convlens.report.sections import Section
from convlens.report.study_record import Result, Run


@dataclass(frozen=True)
class PaperItem:
    """A figure or table of the paper.

    Attributes:
        name: as the paper numbers it (arXiv version 3).
        title: what it shows.
        paper: the paper's numbers in short.
        command: what makes ours.
    """

    name: str
    title: str
    paper: str
    command: str


PROJECT, TRANSFER = "convlens task=project run=DIR", "convlens task=transfer run=DIR"
ITEMS = (
    PaperItem(
        "Fig 2", "strongest activations of each map, projected", "top 9 of random maps of layers 2 to 5", PROJECT
    ),
    PaperItem(
        "Fig 4",
        "features during training",
        "epochs 1, 2, 5, 10, 20, 30, 40, 64 of 70",
        "convlens model=zfnet callbacks=paper",
    ),
    PaperItem(
        "Fig 5",
        "invariance to translation, scale and rotation",
        "five images; layer 1 reaches 55 to 85 % of its maximum by 10 px, layer 7 is nearly linear",
        "convlens task=invariance run=DIR",
    ),
    PaperItem(
        "Fig 6",
        "filters of the first layers",
        "flat filters: 23 of 96 (AlexNet), 4 of 96 (ZFNet)",
        "convlens task=diagnose task.run_dirs=[DIR,DIR]",
    ),
    PaperItem(
        "Fig 7",
        "occlusion sensitivity",
        "P of the class at its lowest 0.05, 0.01, 0.00; correlation of map and class +0.66, -0.39, -0.19",
        "convlens task=occlude run=DIR",
    ),
    PaperItem(
        "Table 1",
        "correspondence of parts (with Fig 8)",
        "layer 5: eyes 0.067, 0.069, nose 0.079, random 0.107; layer 7: 0.069, 0.068, 0.069, 0.073",
        "convlens task=correspond run=DIR",
    ),
    PaperItem(
        "Table 2",
        "errors on ImageNet, single networks and ensembles",
        "top-1 and top-5: AlexNet 40.5, 18.1; ZFNet 38.4, 16.5; five 36.7, 15.3; wide 37.5, 16.0; six 36.0, 14.7",
        "convlens task=compare task.run_dirs=[DIR,DIR]; convlens task=ensemble task.run_dirs=[DIR,DIR]",
    ),
    PaperItem(
        "Table 3",
        "ablations",
        "top-1: without 3, 4 45.4; 7 40.0; 6, 7 44.8; 3, 4, 6, 7 71.3; of 40.5",
        "convlens -m experiment=ablation seed=0,1,2",
    ),
    PaperItem("Table 4", "Caltech-101", "15 and 30 images per class: 83.8, 86.5 %", f"{TRANSFER} data=caltech101"),
    PaperItem(
        "Table 5",
        "Caltech-256",
        "15, 30, 45, 60 images per class: 65.7, 70.6, 72.7, 74.2 %",
        f"{TRANSFER} data=caltech256",
    ),
    PaperItem(
        "Table 6", "PASCAL VOC 2012", "mean AP 79.0 %, best of three systems for 5 classes", f"{TRANSFER} data=voc"
    ),
    PaperItem(
        "Table 7",
        "features by layer",
        "Caltech-101, SVM: 44.8, 66.2, 72.3, 76.6, 86.2, 85.5 % (layers 1 to 5, 7)",
        f"{TRANSFER} data=caltech101",
    ),
    PaperItem(
        "Fig 9",
        "few training images",
        "6 images per class pass the best earlier result, 55.2 %",
        f"{TRANSFER} data=caltech256",
    ),
)


@dataclass(frozen=True)
class IndexRow:
    """One of the paper's items with what the report holds for it.

    Attributes:
        item: the figure or table.
        anchors: anchors and titles of the sections that have it.
        ours: our numbers in short, one line for each run; empty if it was not made.
    """

    item: PaperItem
    anchors: Sequence[tuple[str, str]]
    ours: Sequence[str]


def paper_index(runs: Sequence[Run], sections: Sequence[Section]) -> list[IndexRow]:
    """Return a row for each figure and table of the paper, in their order."""
    rows = []
    for item in ITEMS:
        found = [(run.name, result) for run in runs for result in run.results if _has(result.reproduces, item.name)]
        anchors = [(one.anchor, one.title) for one in sections if _has(one.reproduces, item.name)]
        lines = [f"{name}: {short}" for name, result in found if (short := _short(result))]
        rows.append(IndexRow(item, anchors, lines))
    return rows


def _has(reproduces: str, name: str) -> bool:
    """Return whether a text such as ``Tables 4, 5 and 7, Fig 9`` names a figure or table."""
    kind = ""
    for word in reproduces.replace(",", " ").split():
        if word.rstrip("s") in ("Fig", "Table"):
            kind = word.rstrip("s")
        elif f"{kind} {word}" == name:
            return True
    return False


def _short(result: Result) -> str:
    """Return the numbers of a result, at most four, as text."""
    numbers = [f"{one.name} {number(one.value)}{' ' + one.unit if one.unit else ''}" for one in result.numbers[:4]]
    return "; ".join(numbers)

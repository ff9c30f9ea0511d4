import csv
import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from convlens.report import write_report

VOID = {"meta", "link", "img", "source", "br", "input"}


class Page(HTMLParser):
    """A page's tags and text. Tags that are not closed in order are an error."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        where = self.open[-1] if self.open else ""
        if where not in ("style", "script"):
            self.texts.append((where, data))
            if "td" in self.open or "th" in self.open:
                self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(data for _, data in self.texts).split())

    def find(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        return [a for t, a in self.tags if t == tag and attributes.items() <= a.items()]

    def row(self, first: str) -> list[str]:
        """The first table row that begins with this cell."""
        rows = [[" ".join(cell.split()) for cell in row] for row in self.rows]
        return next(row for row in rows if row and row[0] == first)


@pytest.fixture(scope="session")
def page() -> Callable[[Path], Page]:
    return Page


@pytest.fixture(scope="session")
def write() -> Callable[[Path, Any], Path]:
    """Writes text as it is, anything else as JSON."""

    def make(path: Path, content: Any) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return make


@pytest.fixture(scope="session")
def make_run(write: Callable[[Path, Any], Path]) -> Callable[..., Path]:
    """A run directory of a network trained for three epochs, with one analysis of two figures."""

    def make(directory: Path, name: str, test_error: float, level: int = 100) -> Path:
        command = f'convlens task=train model={name} "data.root=/my data/<pictures>"'
        about = {"task": "train", "name": name, "status": "finished", "command": command, "seconds": 81.2}
        write(directory / "run.json", about | {"error": None, "version": "0.1.0"})
        write(directory / "config.yaml", f"model:\n  name: {name}  # <&>\n")
        columns = ["epoch", "train/loss", "train/top1_error", "val/loss", "val/top1_error", "val/top5_error"]
        rows = [[1, 2.5, 80, 2.4, 70, 20], [2, 1.5, 50, 1.6, 40.25, 9], [3, 1, 30, 1.7, 45, ""]]
        with (directory / "metrics.csv").open("w", newline="") as file:
            csv.writer(file).writerows([columns, *rows])
        metrics = {"test/top1_error": test_error, "test/top5_error": 8.04, "best_epoch": 2, "parameters": 62357608}
        write(directory / "metrics.json", metrics)
        results = directory / "results" / "projections"
        for key in ("conv1", "conv2"):
            folder = results / "epoch_003"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((4, 6, 3), level, np.uint8)).save(folder / f"{key}.png")
        figures = [
            {"file": f"epoch_003/{key}.png", "caption": f"{key} <b>of</b> {name}", "key": key}
            for key in ("conv1", "conv2")
        ]
        numbers = [
            {"name": "dead maps", "value": 4.2, "unit": "%", "spread": 0.5},
            {"name": "images", "value": 1400, "unit": "", "spread": None},
        ]
        table = {"title": "Bands", "columns": ["layer", "share (%)"], "rows": [["conv1", 12.34], ["conv2", 5]]}
        write(
            results / "result.json",
            {
                "analysis": "projections",
                "title": "Top-9 projections",
                "reproduces": "Fig 2",
                "text": "Look for what the nine have in common.",
                "numbers": numbers,
                "figures": figures,
                "tables": [table],
            },
        )
        return directory

    return make


@pytest.fixture(scope="session")
def make_study(make_run: Callable[..., Path], write: Callable[[Path, Any], Path]) -> Callable[[Path], Path]:
    """A study of two networks in which a fourth part failed."""

    def make(root: Path) -> Path:
        parts = []
        for name, error in (("zfnet", 12.34), ("alexnet", 14.0)):
            make_run(root / name, name, error, level=100 if name == "zfnet" else 200)
            command = f"convlens task=train model={name}"
            parts.append(
                {"name": f"train {name}", "run": name, "command": command, "status": "finished", "seconds": 100}
            )
        parts.append({"name": "analyse zfnet", "run": "zfnet", "command": "convlens task=analyse", "status": "reused"})
        failed = {"name": "transfer", "run": None, "command": "convlens task=transfer a=1 && b", "status": "failed"}
        trace = 'Traceback:\n  File "<string>"\nInputError: no images in <data>'
        parts.append(failed | {"seconds": 1.5, "error": "no images in <data>", "traceback": trace})
        write(root / "study.json", {"title": "Our <study>", "command": "convlens task=study", "parts": parts})
        return root

    return make


@pytest.fixture
def study(tmp_path: Path, make_study: Callable[[Path], Path]) -> Path:
    """A study of one's own, to be changed."""
    return make_study(tmp_path / "study")


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, make_study: Callable[[Path], Path]) -> tuple[Path, Page]:
    """A study that nobody changes, and its page."""
    root = make_study(tmp_path_factory.mktemp("whole") / "study")
    return root, Page(write_report(root))


@pytest.fixture
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Curves are chosen but drawn without their lines, which takes most of the time of a report."""
    monkeypatch.setattr("convlens.report.embed.curves", lambda plots, dark: Figure(figsize=(1, 1)))

"""Pictures as data: URIs, so that the report is one file."""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib import rc_context
from PIL import Image

from convlens.figures import Curve, curves
from convlens.report.records import Run
from convlens.report.summary import best_epoch

PANELS = {"top1_error": "top-1 error (%)", "loss": "loss"}
KINDS = {"val": "validation", "train": "training"}

# Pillow raises SyntaxError for a PNG with a broken chunk
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


@dataclass(frozen=True)
class Embedded:
    """A picture inside the page: its data, and its size in CSS pixels."""

    uri: str
    width: int
    height: int
    dark_uri: str = ""


def embed(path: Path, inside: Path, problems: list[str]) -> Embedded | None:
    """A PNG file as it is; None, and a problem, if it is missing, broken or outside of the run's directory."""
    try:
        if not path.resolve().is_relative_to(inside.resolve()):
            problems.append(f"{path}: lies outside of its run directory and was left out")
            return None
        content = path.read_bytes()
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            width, height = image.size
            image.verify()
    except FileNotFoundError:
        problems.append(f"{path}: missing")
        return None
    except _UNREADABLE as error:
        problems.append(f"{path}: not a readable PNG ({type(error).__name__})")
        return None
    return Embedded(_uri("image/png", content), width, height)


def draw_curves(runs: Sequence[Run]) -> list[tuple[str, Embedded]]:
    """Error and loss of all runs over the epochs, a picture each, in light and in dark; only what somebody recorded."""
    pictures = []
    for metric, label in PANELS.items():
        recorded = [
            (run, split, values)
            for run in runs
            for split in KINDS
            for values in [run.history.get(f"{split}/{metric}", {})]
            if any(map(math.isfinite, values.values()))
        ]
        found = [
            Curve(run.name, list(values), list(values.values()), KINDS[split], ring=_ring(run, f"{split}/{metric}"))
            for run, split, values in recorded
        ]
        if found:
            pictures.append((label, _svg(label, found)))
    return pictures


def _ring(run: Run, key: str) -> int | None:
    return best_epoch(run) if key == "val/top1_error" else None


def _svg(label: str, found: Sequence[Curve]) -> Embedded:
    uris, size = [], (0, 0)
    for dark in (False, True):
        figure = curves({label: found}, dark=dark)
        buffer = io.BytesIO()
        # no date and no random names in the file: the same runs give the same report
        with rc_context({"svg.hashsalt": "convlens"}):
            figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
        uris.append(_uri("image/svg+xml", buffer.getvalue()))
        inches = figure.get_size_inches()
        size = (round(inches[0] * 96), round(inches[1] * 96))
    return Embedded(uris[0], *size, dark_uri=uris[1])


def _uri(media: str, content: bytes) -> str:
    return f"data:{media};base64,{base64.b64encode(content).decode('ascii')}"

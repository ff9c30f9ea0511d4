"""Pictures as data: URIs, so that the report is one file."""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib import rc_context
from PIL import Image, features

from convlens.figures import Curve, curves
from convlens.report.study_record import Run
from convlens.report.summary import best_epoch

PANELS = {"top1_error": "top-1 error (%)", "loss": "loss"}
KINDS = {"val": "validation", "train": "training"}

LARGE = 64_000
"""PNG files of more bytes than this are embedded as WebP, where that saves at least half."""
QUALITY = 82
LONGEST_WEBP = 16_383

# Pillow raises SyntaxError for a PNG with a broken chunk
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


@dataclass(frozen=True)
class Embedded:
    """A picture inside the page: its data, and its size in CSS pixels."""

    uri: str
    width: int
    height: int
    dark_uri: str = ""

    @property
    def tall(self) -> bool:
        """Whether the page shows the upper part of it only, until it is asked for all."""
        return self.height > 2 * self.width


def embed(path: Path, inside: Path, problems: list[str]) -> Embedded | None:
    """A PNG file; None, and a problem, if it is missing, broken or outside of the run's directory.

    The file is embedded as it is, or, where it is large and noisy as sheets of projections are, as WebP of the same
    size in pixels: the page is much smaller, and the PNG stays in the run directory for who needs each grey level.
    """
    try:
        if not path.resolve().is_relative_to(inside.resolve()):
            problems.append(f"{path}: lies outside of its run directory and was left out")
            return None
        content = path.read_bytes()
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            width, height = image.size
            image.verify()
        lighter = _webp(content) if len(content) > LARGE else None
    except FileNotFoundError:
        problems.append(f"{path}: missing")
        return None
    except _UNREADABLE as error:
        problems.append(f"{path}: not a readable PNG ({type(error).__name__})")
        return None
    uri = _uri("image/png", content) if lighter is None else _uri("image/webp", lighter)
    return Embedded(uri, width, height)


def _webp(content: bytes) -> bytes | None:
    """A PNG as lossy WebP; None where that saves less than half or cannot be."""
    with Image.open(io.BytesIO(content)) as image:
        if max(image.size) > LONGEST_WEBP or not features.check("webp"):
            return None
        buffer = io.BytesIO()
        # without transparency there is no alpha plane to keep
        image.convert("RGBA" if image.has_transparency_data else "RGB").save(buffer, "WEBP", quality=QUALITY)
    return buffer.getvalue() if 2 * len(buffer.getvalue()) <= len(content) else None


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

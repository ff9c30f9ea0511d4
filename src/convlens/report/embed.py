"""Embedding of figures and learning curves as data URIs, so that the report is a single file."""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib import rc_context
from PIL import Image, features

from convlens.figures import Curve, curves
from convlens.io.inside import unfit
from convlens.report.study_record import Run
from convlens.report.summary import best_epoch

PANELS = {"top1_error": "top-1 error (%)", "loss": "loss"}
KINDS = {"val": "validation", "train": "training"}

LARGE = 64_000
"""PNG files of more bytes than this are embedded as WebP if that halves their size."""
QUALITY = 82
LONGEST_WEBP = 16_383  # pixels, a limit of the format

# Pillow raises SyntaxError for a PNG with a broken chunk
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


@dataclass(frozen=True)
class EmbeddedImage:
    """A picture inside the page: data URI and size in CSS pixels; ``dark_uri`` is its version for dark pages."""

    uri: str
    width: int
    height: int
    dark_uri: str = ""

    @property
    def tall(self) -> bool:
        """Whether the page shows only the upper part until the reader clicks on it."""
        return self.height > 2 * self.width


def embed(path: Path, directory: Path, problems: list[str]) -> EmbeddedImage | None:
    """Embed a PNG file, unchanged or, if that is at most half as large, as lossy WebP of the same size in pixels.

    Args:
        path: the PNG file.
        directory: the run directory; a file outside of it is not embedded.
        problems: gets a line if the file is missing, broken or outside of the directory.

    Returns:
        The picture, or None after a problem.
    """
    try:
        if reason := unfit(path, directory):
            problems.append(f"{path} {reason}: not shown")
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
    return EmbeddedImage(uri, width, height)


def _webp(content: bytes) -> bytes | None:
    """Convert a PNG to lossy WebP; return None if that saves less than half or WebP cannot hold the picture."""
    with Image.open(io.BytesIO(content)) as image:
        if max(image.size) > LONGEST_WEBP or not features.check("webp"):
            return None
        buffer = io.BytesIO()
        # without transparency there is no alpha plane to keep
        image.convert("RGBA" if image.has_transparency_data else "RGB").save(buffer, "WEBP", quality=QUALITY)
    return buffer.getvalue() if 2 * len(buffer.getvalue()) <= len(content) else None


def draw_curves(runs: Sequence[Run]) -> list[tuple[str, EmbeddedImage]]:
    """Draw error and loss of all runs by epoch, one picture for each quantity that any run recorded.

    Returns:
        Label of the y axis and picture, with a version for dark pages.
    """
    pictures = []
    for metric, label in PANELS.items():
        recorded = [
            (run, split, values)
            for run in runs
            for split in KINDS
            for values in [run.history.get(f"{split}/{metric}", {})]
            if any(map(math.isfinite, values.values()))
        ]
        lines = [
            Curve(run.name, list(values), list(values.values()), KINDS[split], ring=_ring(run, f"{split}/{metric}"))
            for run, split, values in recorded
        ]
        if lines:
            pictures.append((label, _svg(label, lines)))
    return pictures


def _ring(run: Run, key: str) -> int | None:
    return best_epoch(run) if key == "val/top1_error" else None


def _svg(label: str, lines: Sequence[Curve]) -> EmbeddedImage:
    uris, size = [], (0, 0)
    for dark in (False, True):
        figure = curves({label: lines}, dark=dark)
        buffer = io.BytesIO()
        # without date and random identifiers the same runs give the same report, byte for byte
        with rc_context({"svg.hashsalt": "convlens"}):
            figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
        uris.append(_uri("image/svg+xml", buffer.getvalue()))
        inches = figure.get_size_inches()
        size = (round(inches[0] * 96), round(inches[1] * 96))
    return EmbeddedImage(uris[0], *size, dark_uri=uris[1])


def _uri(media: str, content: bytes) -> str:
    return f"data:{media};base64,{base64.b64encode(content).decode('ascii')}"

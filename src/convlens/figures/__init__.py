"""Drawing of the paper's figures from arrays: sheets of tiles as PIL images, plots as matplotlib figures."""

from convlens.figures.bar_plots import bars, rms_histogram
from convlens.figures.evolution import evolution_sheet
from convlens.figures.filters import filters_sheet
from convlens.figures.image_grid import MID_GREY, panel_gain, signed_to_uint8, tile
from convlens.figures.line_plots import Curve, curves
from convlens.figures.png import save_png
from convlens.figures.top9 import top9_sheet

__all__ = [
    "MID_GREY",
    "Curve",
    "bars",
    "curves",
    "evolution_sheet",
    "filters_sheet",
    "panel_gain",
    "rms_histogram",
    "save_png",
    "signed_to_uint8",
    "tile",
    "top9_sheet",
]

import numpy as np
import pytest
from matplotlib.figure import Figure

from convlens.errors import InputError
from convlens.figures import Curve, bars, curves, rms_histogram


def drawn(figure: Figure) -> list[tuple[list[float], list[float]]]:
    """The points of the lines of the first panel."""
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in figure.axes[0].lines]


def test_curves_leave_out_what_is_not_finite_and_circle_one_point():
    curve = Curve("zfnet", [1, 2, 3, 4], [50.0, np.nan, 30.0, np.inf], ring=3)
    assert drawn(curves({"error (%)": [curve]})) == [([1, 3], [50, 30]), ([3], [30])]


def test_curves_name_axes_groups_and_kinds_once():
    panel = [
        Curve(run, [1, 2], [2.0, 1.0], kind) for run in ("zfnet", "alexnet") for kind in ("validation", "training")
    ]
    figure = curves({"error (%)": panel, "loss": panel})
    assert [axis.get_ylabel() for axis in figure.axes] == ["error (%)", "loss"]
    assert {axis.get_xlabel() for axis in figure.axes} == {"epoch"}
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["zfnet", "alexnet", "validation", "training"]
    solid, dashed = figure.axes[0].lines[0], figure.axes[0].lines[2]
    assert (solid.get_linestyle(), dashed.get_linestyle()) == ("-", "--")
    assert solid.get_color() == dashed.get_color() != figure.axes[0].lines[4].get_color()


def test_epochs_begin_at_one_and_errors_at_zero():
    axis = curves({"error (%)": [Curve("zfnet", range(1, 31), np.linspace(90, 40, 30))]}).axes[0]
    ticks = list(axis.get_xticks())
    assert ticks[0] == 1
    assert ticks == [int(t) for t in ticks]
    assert max(ticks) <= 30
    assert axis.get_ylim()[0] == 0


def test_negative_values_are_not_cut_off():
    axis = curves({"change": [Curve("a", [0.5, 1.5], [-3.0, 2.0])]}, x_label="shift (px)").axes[0]
    assert axis.get_ylim()[0] < -3
    assert axis.get_xlabel() == "shift (px)"


def test_spread_is_a_band_of_that_half_width():
    axis = curves({"accuracy (%)": [Curve("a", [1, 2], [10.0, 20.0], spread=[1.0, 3.0])]}).axes[0]
    heights = axis.collections[0].get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (9, 23)


def test_eleven_runs_are_told_apart():
    panel = [Curve(str(i), [1, 2], [1.0, 2.0]) for i in range(11)]
    looks = {(line.get_color(), line.get_marker()) for line in curves({"loss": panel}).axes[0].lines[::2]}
    assert len(looks) == 11


def test_one_epoch_is_visible():
    assert curves({"loss": [Curve("a", [1], [2.0])]}).axes[0].lines[0].get_marker() == "o"


def test_bars_stand_on_zero_in_groups():
    figure = bars({"a": {"x": 3.0, "y": 4.0}, "b": {"y": 5.0}}, y_label="accuracy (%)", line=(10.0, "chance"))
    axis = figure.axes[0]
    assert [bar.get_height() for bar in axis.patches[:2]] == [3, 4]
    assert np.isnan(axis.patches[2].get_height())
    assert axis.patches[3].get_height() == 5
    assert {bar.get_y() for bar in axis.patches} == {0}
    # the two bars of y stand side by side about 1
    left, right = axis.patches[1], axis.patches[3]
    assert left.get_x() + left.get_width() <= right.get_x()
    assert (left.get_x() + right.get_x() + right.get_width()) / 2 == pytest.approx(1)
    assert [t.get_text() for t in axis.get_xticklabels()] == ["x", "y"]
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["a", "b", "chance"]


def test_bars_with_spread():
    figure = bars({"a": {"x": 3.0, "y": 4.0}}, y_label="%", spread={"a": {"x": 0.5}})
    segments = figure.axes[0].collections[0].get_segments()
    assert segments[0].tolist() == [[0, 2.5], [0, 3.5]]


def test_histogram_counts_every_filter_and_shows_the_clip_radius():
    rms = np.array([0.02, 0.021, 0.05, 0.1])
    axis = rms_histogram({"conv1": rms}, clip=0.1).axes[0]
    assert sum(bar.get_height() for bar in axis.patches) == 4
    assert axis.get_xscale() == "linear"
    assert [list(line.get_xdata()) for line in axis.lines] == [[0.1, 0.1]]


def test_histogram_of_a_dominating_and_a_zero_filter_is_logarithmic_and_complete():
    rms = {"with": np.full(95, 0.05), "without": np.array([0.0, 1e-9, 0.01, 2.0, np.nan])}
    figure = rms_histogram(rms, clip=0.1)
    assert [sum(bar.get_height() for bar in axis.patches) for axis in figure.axes] == [95, 4]
    assert figure.axes[1].get_xscale() == "log"
    assert figure.axes[1].get_xlabel() == "filter RMS (log scale)"
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()


def test_histogram_of_zeros():
    assert sum(bar.get_height() for bar in rms_histogram({"dead": np.zeros(3)}).axes[0].patches) == 3


@pytest.mark.parametrize(
    "draw",
    [
        lambda: curves({"loss": []}),
        lambda: bars({"a": {}}, y_label="%"),
        lambda: rms_histogram({"a": np.array([np.nan])}),
    ],
)
def test_nothing_to_draw_is_said(draw):
    with pytest.raises(InputError, match="nothing to draw"):
        draw()

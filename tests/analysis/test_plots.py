import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PolyCollection

from analysis import plots
from analysis.plots.drawing import logarithmic, panels, possible, to_floor
from analysis.stats.inference import AUC
from analysis.stats.scaling import size_curve
from analysis.stats.tradeoff import front
from analysis.study_data import ARM
from tests.analysis.synthetic import GRID, draw, study


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


@pytest.fixture
def made():
    """Quality falls with epochs; that of the smallest arm is so noisy that its interval holds 0."""
    leakage = draw(np.random.default_rng(4), 5, np.full(len(GRID), 0.8))
    quality = np.full((5, len(GRID)), 0.5) + 0.01 * np.arange(5)[:, None]
    quality[:, GRID.get_level_values(ARM) == "dp_sgd 2"] = np.array([0.05, 2.0, 0.05, 0.05, 0.05])[:, None]
    return study(leakage, quality)


@pytest.mark.parametrize(
    ("rows", "columns", "shape"),
    [(1, 1, (1, 1)), (1, 4, (1, 4)), (1, 5, (2, 3)), (1, 6, (2, 3)), (1, 7, (2, 4)), (1, 9, (3, 3)), (6, 1, (2, 3)),
     (2, 3, (2, 3)), (2, 6, (4, 3)), (3, 5, (6, 3))],
)  # fmt: skip
def test_panels_are_at_most_four_abreast_and_as_even_as_can_be(rows, columns, shape):
    figure, grid = panels([f"r{row}" for row in range(rows)], range(columns))
    found = next(iter(grid.values())).get_subplotspec().get_gridspec().get_geometry()
    assert (found, len(grid), len(figure.axes)) == (shape, rows * columns, rows * columns)
    assert list(grid) == [(f"r{row}", column) for row in range(rows) for column in range(columns)] or columns == 1
    if columns > 4 and rows > 1:
        last = {
            spec.rowspan.stop for (row, _), axis in grid.items() if row == "r0" and (spec := axis.get_subplotspec())
        }
        assert last == {1, 2}


def test_an_interval_that_reaches_0_ends_on_a_log_axis_in_an_arrow_below_all_that_is_shown():
    _, axis = plt.subplots()
    mean, low, high = pd.Series([1.0, 0.2, 0.3]), pd.Series([0.5, -0.4, 0.1]), pd.Series([1.5, 0.8, 0.5])
    floor = logarithmic(axis.xaxis, "kid_domain_unseen", mean, low)
    assert axis.get_xscale() == "log" and 0 < floor < 0.1
    errors, below = to_floor(mean, low, high, floor)
    assert below.tolist() == [False, True, False]
    assert (mean - errors[0]).tolist() == pytest.approx([0.5, floor, 0.1])
    assert (mean + errors[1]).tolist() == pytest.approx(high.tolist())


@pytest.mark.parametrize("quality", ["precision_domain_unseen", "kid_domain_unseen"])
def test_shares_and_values_of_0_or_less_stay_on_a_linear_axis_with_whole_intervals(quality):
    _, axis = plt.subplots()
    mean = pd.Series([0.5, 0.2 if quality.startswith("precision") else -0.01])
    floor = logarithmic(axis.yaxis, quality, mean, mean - 0.3)
    errors, below = to_floor(mean, mean - 0.3, mean + 0.3, floor)
    assert axis.get_yscale() == "linear" and not below.any()
    assert errors[0].tolist() == pytest.approx([0.3, 0.3])


def test_pictures_of_quality_say_what_their_arrows_mean(made):
    drawn = [
        plots.leakage_against_quality(made, "white_box"),
        plots.front(made, front(made, "white_box"), "white_box"),
    ]
    for figure in drawn:
        assert "an arrow: the interval goes on to 0 or less" in figure.axes[0].get_xlabel()
        assert figure.axes[0].get_xscale() == "log"
        assert all(line.get_segments()[0].min() > 0 for axis in figure.axes for line in axis.collections[:1])


def test_parallel_coordinates_have_a_distance_on_a_log_axis_and_arms_in_order(made):
    made.wide["kid_domain_unseen"] = 10.0 ** made.wide["epochs"].map({10: 1, 40: 0, 160: -1})
    figure = plots.parallel_coordinates(made, "white_box")
    axis = figure.axes[0]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == made.arms
    assert axis.get_xticklabels()[-1].get_text() == "kid_domain_unseen (log)"
    heights = {round(float(line.get_ydata()[-1]), 6) for line in axis.lines if len(line.get_xdata()) > 2}
    assert heights == {0.0, 0.5, 1.0}


def test_a_forest_has_both_looks_in_its_legend(made):
    table = pd.DataFrame({"contrast": ["a"], "effect": [1.0], "low": [0.5], "high": [1.5], "p_holm": [0.01],
                          "settled": [True], "replicates": [5]})  # fmt: skip
    figure = plots.forest(made, table)
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == [
        "settled: p < 0.05 after Holm",
        "not settled",
    ]


def test_an_audit_says_its_delta_and_marks_what_is_clipped(made):
    table = pd.DataFrame({"arm": ["dp_sgd 2"], "train_size": [100], "epochs": [160], "audit": ["canaries"],
                          "attack": ["canary_gradient"], "trainings": [5], "epsilon": [2.0], "delta": [1e-5],
                          "epsilon_low": [0.0], "epsilon_ceiling": [4.0]})  # fmt: skip
    figure = plots.audited(made, table)
    axis = figure.axes[0]
    figure.canvas.draw()
    assert axis.get_xlabel() == "epsilon per record at delta 1e-05"
    assert "≤ 0.01" in {text.get_text() for text in axis.get_xticklabels()}
    assert axis.get_yticklabels()[0].get_text() == "dp_sgd 2, n = 100, 160 epochs\ncanary gradient, 5 trainings"


@pytest.fixture
def of_two():
    """Two replicates, so far apart that intervals reach beyond what an AUC can be."""
    small = GRID.get_level_values("train_size") == min(GRID.get_level_values("train_size"))
    leakage = np.where([small, ~small], 0.98, 0.02)
    return study(leakage, np.full((2, len(GRID)), 0.5))


def drawn_heights(figure):
    """Of ends of intervals and edges of bands."""
    every = [collection for axis in figure.axes for collection in axis.collections]
    parts = [collection for collection in every if isinstance(collection, LineCollection | PolyCollection)]
    return np.concatenate([path.vertices[:, 1] for part in parts for path in part.get_paths()])


def test_intervals_and_bands_are_drawn_where_a_measure_can_be(of_two):
    (attack,) = of_two.attacks[:1]
    curve = size_curve(of_two, attack)
    assert curve["high"].max() > 1 and curve["low"].min() < 0
    for figure in (
        plots.leakage_against_size(of_two, attack, curve),
        plots.leakage_against_quality(of_two, attack),
        plots.leakage_over_training(of_two, attack),
    ):
        heights = drawn_heights(figure)
        assert len(heights) and heights.min() >= 0 and heights.max() <= 1, figure.axes[0].get_title()


def test_differences_reach_to_plus_and_minus_1_at_most():
    assert possible(np.array([-3.0, 0.2, 4.0]), AUC, is_difference=True).tolist() == [-1, 0.2, 1]
    assert possible(np.array([-3.0, 0.2, 4.0]), "advantage").tolist() == [-1, 0.2, 1]
    assert possible(np.array([-3.0, 7.0]), "fid_domain_unseen").tolist() == [-3, 7]

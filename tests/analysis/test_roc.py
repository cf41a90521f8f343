"""The ROC of a cell: of judged records alone, the same as the tables' TPR, between 0 and 1."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest

from analysis import plots
from analysis.stats.roc import roc_of_cell
from analysis.study_data import load
from mia_core.metrics.low_fpr import tpr_at_low_fpr
from study.store import read
from tests.analysis.synthetic import write_store


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    only = ("replicates=8", "factors.defense=[none]", "factors.train_size=[40]", "factors.epochs=[1]")
    return load(write_store(tmp_path_factory.mktemp("roc"), lambda trial: 1.0, overrides=only))


def test_it_is_the_pooled_tpr_of_judged_records_and_stays_between_0_and_1(data):
    rows, scores = data.attack("white_box"), read(data.store.root, data.name, "scores")
    curve = roc_of_cell(data, rows)
    judged = scores[scores["judged"]]
    score, member = (judged.pivot(index="trial_id", columns="query", values=name) for name in ("score", "member"))
    random = np.random.default_rng(1)
    expected = tpr_at_low_fpr(score.to_numpy(), member.to_numpy(bool), random, fpr=float(curve.fpr[30]))
    assert curve.tpr[30] == pytest.approx(float(expected.estimate))
    assert curve.fpr[0] == pytest.approx(10 / (~member.to_numpy(bool)).sum())
    for limit in (curve.low, curve.high):
        assert (limit >= 0).all() and (limit <= 1).all()
    inside = curve.tpr < 1  # where it is 1, so is its upper limit
    assert inside.sum() > 20
    assert (curve.low[inside] < curve.tpr[inside]).all() and (curve.tpr[inside] < curve.high[inside]).all()
    assert (curve.fpr[-1], curve.tpr[-1]) == (1, 1)
    # A record that is not judged changes nothing, whatever its score.
    some = scores.assign(judged=scores["query"] != judged["query"].iloc[0])
    wild = some.assign(score=np.where(some["judged"], some["score"], 99.0))
    wide = data.wide.drop(columns="judged")  # of as many records as there are
    kept, changed = (roc_of_cell(replace(data, scores=part, wide=wide), rows) for part in (some, wild))
    assert (kept.tpr == changed.tpr).all() and kept.tpr[5] != curve.tpr[5]


def test_a_cell_with_too_few_non_members_has_no_curve(data):
    rows, scores = data.attack("white_box"), read(data.store.root, data.name, "scores")
    sums = scores[scores["judged"]].groupby("query")["member"].sum()
    few = scores[scores["query"].isin([sums.idxmin(), sums.idxmax()])]
    usable = few.groupby("trial_id")["member"].transform("nunique") == 2
    wide = data.wide[data.wide["trial_id"].isin(few.loc[usable, "trial_id"])].drop(columns="judged")
    kept = replace(data, scores=few[usable], wide=wide)
    rows = kept.attack("white_box")
    assert 0 < len(rows) < 10 and roc_of_cell(kept, rows) is None


def test_the_picture_has_bands_inside_0_and_1(data):
    figure = plots.roc_of_arms(data, "white_box")
    axis = figure.axes[0]
    band = axis.collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() >= 0 and band.max() <= 1 and len(axis.lines) == 2
    plt.close(figure)


def test_axes_of_less_than_a_power_of_ten_are_labeled_at_few_plain_numbers(data):
    few = replace(data, wide=data.wide[data.wide["replicate"] < 4])
    figure = plots.roc_of_arms(few, "white_box")
    assert figure.axes[0].get_xlim()[0] > 0.1
    figure.draw_without_rendering()
    words = {text.get_text() for text in figure.axes[0].xaxis.get_ticklabels(which="both")} - {""}
    assert {"0.2", "0.5", "1"} <= words <= {"0.05", "0.1", "0.2", "0.5", "1", "2", "5"}
    plt.close(figure)

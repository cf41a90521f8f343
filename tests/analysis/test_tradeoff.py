import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from analysis.stats import tradeoff
from analysis.stats.effects import t_interval
from analysis.stats.tradeoff import best_quality, equal_quality, front, least_leakage
from tests.analysis.synthetic import draw, study

ARM = "arm"
PATH = pd.MultiIndex.from_tuples(
    [("none", 100, 10), ("none", 100, 40), ("none", 100, 160), ("dropout", 100, 160)],
    names=(ARM, "train_size", "epochs"),
)


@pytest.mark.parametrize("replicates", [5, 10, 20])
def test_leakage_at_equal_quality_covers_its_truth_with_noise_in_both(replicates):
    random = np.random.default_rng(replicates)
    # The arm's quality, 1.5, is midway between the first two levels of the path, where leakage is 0.3: -0.2 less.
    leakage = draw(random, 500, replicates, np.array([0.1, 0.5, 1.2, 0.1]), PATH)
    quality = np.array([2.0, 1.0, 0.4, 1.5]) + 0.1 * random.normal(size=(500, replicates, 4))
    quality += 0.1 * random.normal(size=(500, replicates, 1))
    turned = [3, 0, 1, 2]  # the arm first
    rows = [
        tradeoff._early_stopping(one[:, turned], other[:, turned], [10, 40, 160], "epochs")
        for one, other in zip(leakage, quality, strict=True)
    ]
    whole = equal_quality(study(leakage[0], quality[0], PATH), "white_box").iloc[0]
    assert whole["effect"] == pytest.approx(rows[0]["effect"])
    assert {row["reason"] for row in rows} == {None}
    inside = [row["low"] <= -0.2 <= row["high"] for row in rows]
    assert abs(np.mean(inside) - 0.95) < 0.03
    assert np.mean([row["at_epochs"] for row in rows]) == pytest.approx(20, rel=0.05)
    assert np.mean([row["effect"] for row in rows]) == pytest.approx(-0.2, abs=0.03)


def test_nothing_is_extrapolated_beyond_the_undefended_path():
    leakage = draw(np.random.default_rng(1), 1, 5, np.zeros(4), PATH)[0]
    quality = np.tile([2.0, 1.0, 0.4, 3.0], (5, 1))
    row = equal_quality(study(leakage, quality, PATH), "white_box").iloc[0]
    assert pd.isna(row["effect"])
    assert row["reason"] == "without defense quality is better already after 10 epochs"
    quality[:, 3] = 0.1
    row = equal_quality(study(leakage, quality, PATH), "white_box").iloc[0]
    assert row["reason"] == "training without defense never has quality as good"
    with pytest.raises(ValueError, match="no measure of quality"):
        equal_quality(study(leakage, None, PATH), "white_box")


def test_where_higher_is_better_the_same_comes_out():
    leakage = draw(np.random.default_rng(2), 1, 5, np.zeros(4), PATH)[0]
    quality = np.array([2.0, 1.0, 0.4, 1.5]) + 0.05 * np.random.default_rng(3).normal(size=(5, 4))
    made = study(leakage, quality, PATH)
    turned = type(made)("made", "made", made.wide.assign(coverage_domain_unseen=-made.wide["kid_domain_unseen"]))
    one, other = equal_quality(made, "white_box"), equal_quality(turned, "white_box", "coverage_domain_unseen")
    assert other["quality"].tolist() == (-one["quality"]).tolist()
    assert other["effect"].tolist() == pytest.approx(one["effect"].tolist())
    left, right = front(made, "white_box"), front(turned, "white_box", "coverage_domain_unseen")
    assert left["dominated"].tolist() == right["dominated"].tolist()


@pytest.mark.parametrize("replicates", [5, 10, 20])
def test_a_cell_on_the_front_is_excluded_in_5_studies_of_100_at_most(replicates, monkeypatch):
    monkeypatch.setattr(tradeoff, "DRAWS", 2000)
    random = np.random.default_rng(replicates)
    # Hardest: the last cell leaks as much as the third (a tie), whose quality is better beyond doubt.
    leakage = draw(random, 400, replicates, np.array([0.9, 0.6, 0.3, 0.3]), PATH)
    quality = np.array([2.0, 1.5, 1.0, 3.0]) + 0.05 * random.normal(size=(400, replicates, 4))
    found = [tradeoff._dominance(*both) for both in zip(leakage, quality, strict=True)]
    pairwise = np.mean([by[2, 3] >= 0.95 for _, by in found])
    assert pairwise <= 0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5
    assert pairwise >= 0.02  # and a tie is no stricter than it says
    excluded = np.mean([by[:, 3].max() >= 1 - 0.05 / 3 for _, by in found])
    assert excluded <= 0.05
    dominated = draw(random, 200, replicates, np.array([0.9, 0.6, 0.3, 3.0]), PATH)
    sure = [tradeoff._dominance(*both)[1][:, 3].max() for both in zip(dominated, quality, strict=False)]
    assert np.mean(np.array(sure) >= 1 - 0.05 / 3) > 0.9


def test_the_front_by_means_is_that_of_a_plain_search_and_says_who_dominates():
    leakage = draw(np.random.default_rng(4), 1, 5, np.array([0.1, 0.5, 0.8, 0.9]), PATH)[0]
    quality = np.array([2.0, 1.0, 0.4, 1.5]) + 0.01 * np.random.default_rng(5).normal(size=(5, 4))
    table = front(study(leakage, quality, PATH), "white_box")
    means = np.stack([leakage.mean(0), quality.mean(0)], 1)
    plain = {
        cell: not any((other < own).all() for other in means) for cell, own in zip(PATH.tolist(), means, strict=True)
    }
    for row in table.itertuples():
        assert row.on_front == plain[(row.arm, row.train_size, row.epochs)]
    last = table[table["arm"] == "dropout"].iloc[0]
    assert last["dominated_by"] in ("none, 40 epochs", "none, 160 epochs")
    assert last["dominated"] >= last["dominated_by_probability"] > 0.5
    assert table["rivals"].eq(3).all() and table["replicates"].eq(5).all()


@pytest.mark.parametrize("replicates", [5, 10, 20])
def test_the_least_leakage_under_a_limit_is_covered_though_it_was_chosen(replicates):
    random = np.random.default_rng(replicates)
    truth = np.array([0.3, 0.3, 0.3, 0.3])  # ties: the chosen one always looks better than it is
    leakage = draw(random, 300, replicates, truth, PATH)
    quality = np.array([1.02, 0.5, 0.5, 0.5]) + 0.05 * random.normal(size=(300, replicates, 4))
    inside, wrong = [], []
    for both in zip(leakage, quality, strict=True):
        chosen = tradeoff._choice(both[1], both[0], 1.0)[0][0]
        _, low, high = t_interval(both[0][:, chosen], 1 - 0.05 / 4)
        inside.append(low <= 0.3 <= high)
        wrong.append(chosen == 0)  # whose quality is beyond the limit
    row = least_leakage(study(leakage[-1], quality[-1], PATH), "white_box", at_most=1.0).iloc[0]
    assert row["shown"] and row["candidates"] == 4
    assert PATH[chosen] == (row["arm"], row["train_size"], row["epochs"])
    assert [row["leakage_low"], row["leakage_high"]] == pytest.approx([expit(low), expit(high)])
    assert np.mean(inside) >= 0.95 - 3 * (0.05 * 0.95 / 300) ** 0.5
    assert np.mean(wrong) <= 0.05


def test_no_cell_that_satisfies_is_said_with_the_reason_and_means_alone_are_told_from_what_is_shown():
    leakage = np.array([0.9, 0.6, 0.3, 0.1]) + 0.01 * np.random.default_rng(6).normal(size=(5, 4))
    quality = np.array([2.0, 1.0, 0.4, 0.9]) + np.array([0.01, 0.01, 0.01, 0.3]) * np.random.default_rng(7).normal(
        size=(5, 4)
    )
    made = study(leakage, quality, PATH)
    none = least_leakage(made, "white_box", at_most=0.1).iloc[0]
    assert pd.isna(none["arm"]) and none["reason"] == "no cell has kid_domain_unseen at most 0.1 by its mean"
    limit = float(quality[:, 3].mean()) + 0.1
    two = least_leakage(made, "white_box", at_most=limit)
    assert two[["arm", "epochs"]].to_numpy().tolist() == [["none", 160], ["dropout", 160]]
    assert two["shown"].tolist() == [True, False]
    assert two["reason"].iloc[1].startswith("chosen by its mean: not shown")
    best = best_quality(made, "white_box", at_most=0.59)
    assert best.iloc[0][["arm", "epochs"]].tolist() == ["none", 160]
    assert best_quality(made, "white_box", at_most=0.5)["reason"].iloc[0] == "no cell has auc at most 0.5 by its mean"

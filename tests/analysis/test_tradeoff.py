import numpy as np
import pandas as pd
import pytest

from analysis.stats.effects import means, t_interval
from analysis.stats.tradeoff import best_quality, choice, confidence_of_loss, equal_quality, front, least_leakage
from tests.analysis.synthetic import draw, panel_study, study, true_auc

pytestmark = pytest.mark.long

ARM = "arm"
PATH = pd.MultiIndex.from_tuples(
    [("none", 100, 10), ("none", 100, 40), ("none", 100, 160), ("dropout", 100, 160)],
    names=(ARM, "train_size", "epochs"),
)
STUDIES = 60
MARGIN = 3 * (0.95 * 0.05 / STUDIES) ** 0.5
"""Three standard errors of a share of 95 % found in so many studies."""


def qualities(random, truth, replicates=6, noise=0.05):
    return np.asarray(truth) + noise * random.normal(size=(replicates, len(truth)))


@pytest.mark.slow
def test_leakage_at_equal_quality_covers_its_truth_with_noise_in_both():
    random, gains = np.random.default_rng(1), [0.2, 0.6, 1.0, 0.2]
    truth = np.array([true_auc(gain) for gain in gains])
    # The arm's quality, 1.5, is midway between the first two levels of the path.
    expected = truth[3] - (truth[0] + truth[1]) / 2
    rows = [
        equal_quality(
            panel_study(random, gains, 6, PATH, qualities(random, [2.0, 1.0, 0.4, 1.5], noise=0.1), records=80),
            "white_box",
        ).iloc[0]
        for _ in range(STUDIES)
    ]
    assert all(row["reason"] is None for row in rows)
    inside = [row["low"] <= expected <= row["high"] for row in rows]
    assert abs(np.mean(inside) - 0.95) <= 0.02 + MARGIN
    assert np.mean([row["at_epochs"] for row in rows]) == pytest.approx(20, rel=0.05)
    assert np.mean([row["effect"] for row in rows]) == pytest.approx(expected, abs=0.01)


def test_nothing_is_extrapolated_beyond_the_undefended_path_nor_read_off_where_it_is_flat():
    leakage = draw(np.random.default_rng(1), 5, np.zeros(4), PATH)
    quality = np.tile([2.0, 1.0, 0.4, 3.0], (5, 1))
    row = equal_quality(study(leakage, quality, PATH), "white_box").iloc[0]
    assert pd.isna(row["effect"])
    assert row["reason"] == "without defense mean quality is better already after 10 epochs"
    quality[:, 3] = 0.1
    row = equal_quality(study(leakage, quality, PATH), "white_box").iloc[0]
    assert row["reason"] == "training without defense never has quality as good"
    noise = 0.05 * np.array([[-2, 1, 0, 0], [-1, -2, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [2, -1, 0, 0]])
    flat = np.array([1.0, 0.998, 0.4, 0.999]) + noise
    row = equal_quality(study(leakage, flat, PATH), "white_box").iloc[0]
    assert row["reason"] == "without defense quality is not shown to differ between 10 and 40 epochs"
    with pytest.raises(ValueError, match="no measure of quality"):
        equal_quality(study(leakage, None, PATH), "white_box")


def test_all_comparisons_at_equal_quality_are_corrected_together():
    cells = pd.MultiIndex.from_tuples([*PATH, ("dp_sgd 8", 100, 160)], names=PATH.names)
    random = np.random.default_rng(2)
    made = panel_study(random, [0.2, 0.6, 1.0, 0.2, 0.4], 6, cells, qualities(random, [2.0, 1.0, 0.4, 1.5, 1.2]))
    table = equal_quality(made, "white_box").set_index(ARM)
    smaller = table["p"].min()
    assert table["p_holm"].min() == pytest.approx(2 * smaller)


def test_where_higher_is_better_the_same_comes_out():
    leakage = draw(np.random.default_rng(2), 5, np.zeros(4), PATH)
    quality = np.array([2.0, 1.0, 0.4, 1.5]) + 0.05 * np.random.default_rng(3).normal(size=(5, 4))
    made = study(leakage, quality, PATH)
    wide = made.wide.assign(coverage_domain_unseen=-made.wide["kid_domain_unseen"])
    turned = type(made)("made", "made", wide, {}, made.scores)
    one, other = equal_quality(made, "white_box"), equal_quality(turned, "white_box", "coverage_domain_unseen")
    assert other["quality"].tolist() == (-one["quality"]).tolist()
    assert other["effect"].tolist() == pytest.approx(one["effect"].tolist())
    left, right = front(made, "white_box"), front(turned, "white_box", "coverage_domain_unseen")
    assert left["dominated"].tolist() == right["dominated"].tolist()


@pytest.mark.slow
def test_a_cell_on_the_front_is_excluded_in_5_studies_of_100_at_most_and_a_beaten_one_is_found():
    random = np.random.default_rng(3)
    # Hardest: the last cell leaks as much as the third (a tie), whose quality is better beyond doubt.
    tied, beaten = [], []
    for gain, found in [(0.3, tied)] * STUDIES + [(1.6, beaten)] * 20:
        quality = qualities(random, [2.0, 1.5, 1.0, 3.0])
        made = panel_study(random, [0.9, 0.6, 0.3, gain], 6, PATH, quality, records=80)
        found.append(front(made, "white_box").set_index(ARM).loc["dropout", "excluded"])
    assert np.mean(tied) <= 0.05 + MARGIN
    assert np.mean(beaten) >= 0.9


def test_cells_that_are_alike_do_not_look_beaten_however_many_there_are():
    cells = pd.MultiIndex.from_product([["none"], [100], range(1, 13)], names=PATH.names)
    random = np.random.default_rng(4)
    dominated = [
        front(panel_study(random, [0.5] * 12, 6, cells, qualities(random, [1.0] * 12), records=60), "white_box")
        for _ in range(20)
    ]
    assert not any(table["excluded"].any() for table in dominated[:10])
    assert np.mean([table["dominated"].max() > 0.5 for table in dominated]) <= 0.5
    assert np.mean([table["excluded"].any() for table in dominated]) <= 0.05 + 3 * (0.95 * 0.05 / 20) ** 0.5
    assert np.mean([table["dominated"].mean() for table in dominated]) < 0.05


def test_the_front_by_means_is_that_of_a_plain_search_and_has_the_intervals_of_the_other_tables():
    leakage = draw(np.random.default_rng(4), 5, np.array([0.1, 0.5, 0.8, 0.9]), PATH)
    quality = np.array([2.0, 1.0, 0.4, 1.5]) + 0.01 * np.random.default_rng(5).normal(size=(5, 4))
    data = study(leakage, quality, PATH)
    table = front(data, "white_box")
    told = means(data, data.wide, "auc", data.cell)
    merged = table.merge(told, on=list(data.cell))
    assert merged["leakage_low"].tolist() == merged["low"].tolist()
    points = merged[["mean", "quality"]].to_numpy()
    for row, own in zip(merged.itertuples(), points, strict=True):
        assert row.on_front == (not any((other < own).all() for other in points))
    last = table[table[ARM] == "dropout"].iloc[0]
    assert last["dominated_by"] in ("none, 40 epochs", "none, 160 epochs")
    assert table["rivals"].eq(3).all() and table["replicates"].eq(5).all()


@pytest.mark.slow
def test_the_least_leakage_under_a_limit_is_covered_though_it_was_chosen():
    random, gain = np.random.default_rng(5), 0.3
    truth = true_auc(gain)  # ties: the chosen one always looks better than it is
    inside, wrong = [], []
    for _ in range(STUDIES):
        made = panel_study(random, [gain] * 4, 6, PATH, qualities(random, [1.02, 0.5, 0.5, 0.5]), records=80)
        row = least_leakage(made, "white_box", at_most=1.0).iloc[0]
        assert row["candidates"] == 4
        inside.append(row["leakage_low"] <= truth <= row["leakage_high"])
        wrong.append(row["shown"] and row["epochs"] == 10)  # whose quality is beyond the limit
    assert np.mean(inside) >= 0.95 - MARGIN
    assert np.mean(wrong) <= 0.05


@pytest.mark.slow
def test_a_limit_of_leakage_is_shown_to_be_kept_in_5_studies_of_100_at_most_where_it_is_not():
    random, gain = np.random.default_rng(6), 0.5
    limit = true_auc(gain) - 1e-4  # every cell is just beyond it
    shown = [
        best_quality(
            panel_study(random, [gain] * 4, 6, PATH, qualities(random, [1.0] * 4), records=80), "white_box", limit
        )["shown"].any()
        for _ in range(STUDIES)
    ]
    assert np.mean(shown) <= 0.05 + MARGIN


def test_the_first_chosen_is_shown_to_keep_to_the_limit_and_the_second_keeps_to_it_by_its_mean():
    ways, shown = choice(np.array([True, True, False]), np.array([3.0, 2.0, 1.0]), np.array([0.995, 0.985, 0.2]))
    assert ways == [0, 1] and shown.tolist() == [True, False, False]
    values = np.array([[1.0, 2.0], [2.0, 2.0], [3.0, 2.0]])
    assert confidence_of_loss(values, 2.0).tolist() == pytest.approx([0.5, 1.0])


@pytest.mark.parametrize("replicates", [3, 5, 8])
def test_what_is_shown_to_keep_to_a_limit_has_an_interval_within_it_and_few_replicates_show_nothing(replicates):
    random = np.random.default_rng(replicates)
    leakage = np.array([0.9, 0.6, 0.4, 0.2]) + 0.03 * random.normal(size=(replicates, 4))
    quality = np.array([0.2, 0.5, 1.0, 2.0]) + 0.2 * random.normal(size=(replicates, 4))
    made = study(leakage, quality, PATH)
    shown = 0
    for limit in np.linspace(0.2, 3, 60):
        rows = least_leakage(made, "white_box", at_most=limit)
        kept = rows[rows["shown"].astype(bool)]
        shown += len(kept)
        assert (kept["quality_high"] <= limit).all()
        others = rows[~rows["shown"].astype(bool) & rows["arm"].notna()]
        assert others["reason"].str.startswith("chosen by its mean").all()
        if replicates < 5:
            assert others["reason"].str.endswith("it takes 5 replicates, and there are 3").all()
    for limit in np.linspace(0.5, 0.99, 40):
        rows = best_quality(made, "white_box", at_most=limit)
        kept = rows[rows["shown"].astype(bool)]
        shown += len(kept)
        assert (kept["leakage_high"] <= limit).all()
    assert bool(shown) == (replicates >= 5)


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
    row = two.iloc[0]
    _, low, high = t_interval(quality[:, 2], 1 - 0.05 / 4)
    assert [row["quality_low"], row["quality_high"]] == pytest.approx([low, high])
    best = best_quality(made, "white_box", at_most=0.7)
    assert best.iloc[0][["arm", "epochs"]].tolist() == ["none", 160]
    assert best_quality(made, "white_box", at_most=0.5)["reason"].iloc[0] == "no cell has AUC at most 0.5 by its mean"

"""The release budget against its closed form, and how often what is said of it is wrong."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.stats.budget import allowed, budget, families, highest, keeps_to, upper_bound, words_of_statement
from mia_core.metrics.influence import aucs
from mia_core.metrics.two_way import mean_auc
from tests.analysis.synthetic import gaussian_auc, gaussian_release, release_study

NUMBERS = (30, 100, 1000)
STUDIES = 300


@pytest.fixture(scope="module")
def simulated():
    """STUDIES studies of 5 replicates: means with their intervals at each number, [S, L]."""
    random = np.random.default_rng(1)
    found = []
    for _ in range(STUDIES):
        scores, member = gaussian_release(random, NUMBERS)
        found.append([mean_auc(aucs(values, member)) for values in scores])
    return found


def test_the_closed_form_is_that_of_the_known_answers():
    found = [gaussian_auc(number) for number in (*reversed(NUMBERS), 1e12)]
    assert found == pytest.approx([0.705, 0.655, 0.607, 0.714], abs=6e-4)


def test_simulated_levels_reproduce_the_closed_form_within_their_intervals(simulated):
    for number, level in zip(NUMBERS, zip(*simulated, strict=True), strict=True):
        truth, error = gaussian_auc(number), (0.95 * 0.05 / STUDIES) ** 0.5
        means = np.array([one.estimate for one in level])
        assert abs(means.mean() - truth) < 3 * means.std() / STUDIES**0.5 + 0.004  # the form is a limit in n and d
        inside = np.mean([low <= truth <= high for low, high in (one.interval() for one in level)])
        assert inside >= 0.95 - 3 * error


def test_a_limit_is_falsely_said_to_be_kept_in_at_most_5_studies_of_100_whatever_limits_are_asked(simulated):
    truths = [gaussian_auc(number) for number in NUMBERS]
    limits = np.linspace(0.55, 0.75, 81)  # and the truths themselves, where error is largest
    wrong, some = [], 0
    for study in simulated:
        bounds = [upper_bound(one, len(NUMBERS)) for one in study]
        said = {limit: keeps_to(bounds, NUMBERS, limit) for limit in (*limits, *truths)}
        some += said[0.75] > 0
        wrong.append(any(gaussian_auc(number) >= limit for limit, number in said.items() if number))
    assert np.mean(wrong) <= 0.05 + 3 * (0.05 * 0.95 / STUDIES) ** 0.5
    assert some > STUDIES / 4, "a statement that is never made cannot be wrong"


def test_the_curve_of_a_study_has_the_intervals_of_its_cells_and_bounds_that_hold_together():
    data = release_study(np.random.default_rng(2), NUMBERS, attacks=("near", "far"))
    table = budget(data)
    assert families(data) == {
        name: {number: f"{name}_generated{number}" for number in NUMBERS} for name in ("near", "far")
    }
    assert list(table["released"]) == 2 * list(NUMBERS)
    near = table[table["attack"] == "near"].set_index("released")
    for number in NUMBERS:
        assert near.at[number, "low"] <= gaussian_auc(number) <= near.at[number, "high"]
    assert (table["upper"] > table["high"]).all()  # one-sided at 1 - 0.03 / 3, against 0.975
    said = allowed(data, (0.51, 0.9)).set_index("limit")
    assert said["released"].to_dict() == {0.51: 0, 0.9: 1000}
    assert said["attacks"].tolist() == [2, 2]
    texts = [words_of_statement(row) for row in said.reset_index().to_dict("records")]
    assert texts == [
        "none of the numbers tried (30, 100, 1000) is shown to keep the mean AUC under 0.51",
        "at most 1000 samples keep the mean AUC under 0.90, of 30, 100, 1000 tried",
    ]


def test_every_attack_of_an_access_must_keep_to_the_limit_and_every_smaller_number_too():
    own = pd.DataFrame({"released": [10, 100, 1000] * 2, "upper": [0.52, 0.58, 0.54, 0.51, 0.53, 0.7]})
    tried = (10, 100, 1000)
    assert [keeps_to(highest(own, tried), tried, limit) for limit in (0.52, 0.55, 0.6, 0.71)] == [0, 10, 100, 1000]
    own.loc[1, "upper"] = np.nan  # an attack without a bound keeps to nothing
    assert keeps_to(highest(own, tried), tried, 0.71) == 10


def test_numbers_that_not_all_attacks_were_tried_at_are_not_spoken_of():
    data = release_study(np.random.default_rng(3), NUMBERS, attacks=("near", "far"))
    data = replace(data, wide=data.wide[data.wide["attack"] != "far_generated1000"].reset_index(drop=True))
    assert allowed(data, (0.95,))["tried"].tolist() == ["30, 100"]
    assert allowed(data, (0.95,))["released"].tolist() == [100]


def test_few_replicates_and_public_copies_say_nothing():
    few = release_study(np.random.default_rng(4), NUMBERS, replicates=4)
    assert allowed(few)["released"].isna().all()
    assert "it takes 5 replicates" in words_of_statement(allowed(few).to_dict("records")[0])
    made = release_study(np.random.default_rng(4), NUMBERS)
    public = replace(made, scores=None)
    public.kept["public"] = True
    assert (budget(public)["upper"] < 1).all()
    assert allowed(public)["reason"].unique().tolist() == ["a public copy has no scores"]
    without = replace(made, wide=made.wide[made.wide["attack"] == "near_generated30"].reset_index(drop=True))
    assert budget(without).empty
    assert allowed(without).empty

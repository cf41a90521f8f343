"""What tables and pictures say a guarantee leaves attackers at most, against closed forms."""

from dataclasses import replace
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtr, ndtri

from analysis import plots
from analysis.plots.private import CEILING
from analysis.stats import guarantees as module
from analysis.stats.guarantees import NO_PERSON, PAIR, WHOLE, ceilings, guarantees, person_epsilon
from analysis.study_data import ARM
from mia_core.hashing import canonical_json
from mia_core.metrics.audit import Gaussian
from tests.analysis.synthetic import EPSILON, GRID, draw, study

STEPS = 40
FIXED = {"split": {"name": "panel", "filler": "fixed"}}


def made(resolved=None, stored=True, replicates=5):
    """A study whose private arms have every record in every step, so that mu is known: sigma = sqrt(steps) / mu."""
    data = study(draw(np.random.default_rng(4), replicates, np.full(len(GRID), 0.8)), resolved=resolved or FIXED)
    wide = data.wide
    wide["steps"] = STEPS
    if stored:
        wide["sigma"] = wide[ARM].map({arm: STEPS**0.5 / mu(EPSILON[arm]) for arm in EPSILON})
        wide["config"] = canonical_json({"train_size": 100, "training": {"batch_size": 100}})
    return data


def mu(epsilon, delta=1e-5):
    """Of the Gaussian mechanism with that pair."""
    return next(m for m in np.linspace(0.01, 5, 4991) if Gaussian(m).epsilon(delta) >= epsilon)


def test_ceilings_are_those_of_the_whole_curve_where_the_store_has_it():
    table = ceilings(made())
    assert set(table["curve"]) == {WHOLE} and set(table[ARM]) == set(EPSILON)
    for row in table.to_dict("records"):
        m = mu(row["epsilon"])
        assert row["largest_auc"] == pytest.approx(ndtr(m / 2**0.5), abs=0.005)
        assert row["largest_auc"] >= ndtr(m / 2**0.5) - 1e-3  # a little more: the accountant's epsilons are bounds
        assert row["largest_tpr"] == pytest.approx(ndtr(ndtri(0.01) + m), rel=0.05)
        assert (row["coin_auc"], row["coin_tpr"]) == (row["largest_auc"], row["largest_tpr"])


def test_one_pair_alone_leaves_more_and_is_said_to_be_one():
    whole, pair = ceilings(made()), ceilings(made(stored=False))
    assert set(pair["curve"]) == {PAIR}
    assert (pair["largest_auc"] > whole["largest_auc"] + 0.02).all()
    two = pair[pair["epsilon"] == 2].iloc[0]
    assert two["largest_tpr"] == pytest.approx(np.exp(2) * 0.01 + 1e-5)


@pytest.mark.parametrize("split", [{"name": "panel", "filler": "fill"}, {"name": "logan"}])
def test_coins_that_exchange_two_records_have_the_ceiling_of_two(split):
    table = ceilings(made({"split": split}))
    assert (table["coin_tpr"] > table["largest_tpr"]).all() and (table["coin_auc"] > table["largest_auc"]).all()
    for row in table[table["epsilon"] == 2].to_dict("records"):
        assert row["coin_auc"] >= ndtr(2 * mu(2) / 2**0.5) - 1e-3  # the true curve of two records


@pytest.mark.parametrize(("epsilon", "expected"), [(1, 4.7), (2, 10), (4, 22), (8, 50)])
def test_a_person_with_4_records_has_the_epsilon_of_four_times_the_shift(epsilon, expected):
    m = mu(epsilon)
    found = person_epsilon(((1 / m, 1.0, 1),), 1e-5, 4)
    assert found == pytest.approx(expected, rel=0.03)
    assert Gaussian(4 * m).epsilon(1e-5) <= found + 1e-6
    assert person_epsilon(((1 / m, 1.0, 1),), 1e-5, 1) <= epsilon * 1.03
    assert person_epsilon(((0.0, 1.0, 1),), 1e-5, 4) is None


@pytest.mark.long
def test_persons_have_their_own_epsilon_or_none_and_single_records_need_no_word(monkeypatch):
    def of(pool):
        monkeypatch.setattr(module, "pool_at_hand", lambda data: pool)
        return guarantees(made())["per_person"]

    assert of(SimpleNamespace(units=np.arange(9))).isna().all()
    several = of(SimpleNamespace(units=np.array([0, 1, 1, 1, 1, 2])))
    assert several.str.fullmatch(r"epsilon [\d.]+ for 4 records").all()
    for persons, public, expected in ((np.arange(2), False, True), (None, False, False), (None, True, True)):
        # Whoever has two judged records may have more; of a public copy nobody knows.
        monkeypatch.setattr(
            module, "judged_scores", lambda *_, own=persons: SimpleNamespace(persons=own, unit=np.arange(2))
        )
        monkeypatch.setattr("analysis.study_data.StudyData.public", public)
        assert (of("not at hand") == NO_PERSON).all() == expected
        assert of("not at hand").isna().all() != expected


def per_person(data):
    """The same study, where each unit of a guarantee is a person."""
    data.wide["epsilon_unit"] = np.where(data.wide["epsilon"].notna(), "person", None)
    return data


@pytest.mark.long
def test_an_epsilon_per_person_is_that_of_any_number_of_records_and_is_told_apart(monkeypatch):
    monkeypatch.setattr(module, "pool_at_hand", lambda data: SimpleNamespace(units=np.array([0, 1, 1, 1, 1, 2])))
    table = guarantees(per_person(made()))
    assert set(table["epsilon_unit"]) == {"person"}
    assert set(table["per_person"]) == {"epsilon 8 for any number of records", "epsilon 2 for any number of records"}
    records = guarantees(made())
    assert set(records["epsilon_unit"]) == {"record"} and not set(records["per_person"]) & set(table["per_person"])
    for column in ("largest_auc", "largest_tpr"):  # against one unit, as epsilon is
        assert table[column].tolist() == records[column].tolist()
    assert plots.against_epsilon(per_person(made()), "white_box").get_supxlabel().startswith("epsilon per person at")
    plt.close("all")


@pytest.mark.parametrize(("split", "units"), [({"groups": "keep"}, 1), ({"groups": "ignore"}, 2)])
def test_a_coin_about_one_record_of_a_person_changes_two_persons(split, units):
    of = {"split": {"name": "panel", "filler": "fixed", **split}}
    whole, record = ceilings(per_person(made(of))), ceilings(made(of))
    assert (record["coin_auc"] == record["largest_auc"]).all()
    assert (whole["coin_auc"] == whole["largest_auc"]).all() == (units == 1)
    if units == 2:
        two = ceilings(made({"split": {"name": "panel", "filler": "fill"}}))
        assert whole["coin_auc"].tolist() == two["coin_auc"].tolist()


@pytest.mark.parametrize(("split", "swaps"), [(FIXED["split"], 1), ({"name": "panel", "filler": "fill"}, 2)])
def test_a_coin_about_a_person_has_the_ceiling_of_all_of_the_persons_records(monkeypatch, split, swaps):
    def of(records, **more):
        judged = SimpleNamespace(unit=np.arange(200) // records)
        monkeypatch.setattr(module, "judged_scores", lambda *_: judged)
        return ceilings(made({"split": split}, **more))

    one, four = of(1), of(4)
    assert four["largest_auc"].tolist() == one["largest_auc"].tolist(), "against one record"
    for row in four.to_dict("records"):
        shift = 4 * mu(row["epsilon"])  # every record in every step: the sum moves four times as far, once or twice
        assert row["coin_auc"] >= ndtr(swaps * shift / 2**0.5) - 1e-3
        if swaps == 1:
            assert row["coin_auc"] == pytest.approx(ndtr(shift / 2**0.5), abs=0.005)
            assert row["coin_tpr"] == pytest.approx(ndtr(ndtri(0.01) + shift), rel=0.05)
    assert (of(2, stored=False)["coin_tpr"] > of(1, stored=False)["coin_tpr"]).all()


def test_a_public_copy_has_no_bar_where_nobody_knows_what_a_coin_changes(monkeypatch):
    monkeypatch.setattr("analysis.study_data.StudyData.public", True)
    monkeypatch.setattr(module, "pool_at_hand", lambda data: "not at hand")
    assert ceilings(made())[["coin_auc", "coin_tpr"]].isna().all(axis=None)
    monkeypatch.setattr(module, "pool_at_hand", lambda data: SimpleNamespace(units=np.array([0, 1, 1, 2])))
    assert (ceilings(made())["coin_tpr"] > ceilings(made())["largest_tpr"]).all()


@pytest.mark.long
def test_the_curve_of_a_person_is_that_of_batch_size_over_persons():
    def of(persons, unit):
        data = made()
        arm = [{"name": "dp_sgd", "sigma": 1.0, "clip": 1.0, "delta": 1e-5, **unit}]
        config = {"train_size": 100, "training": {"batch_size": 10}, "defense": arm, "versions": {"training": 2}}
        data.wide["config"] = canonical_json(config | persons)
        return ceilings(data)["history"].iloc[0][0][1]

    assert of({"persons": 20}, {"unit": "person"}) == 10 / 20
    assert of({}, {}) == 10 / 100
    with pytest.raises(ValueError, match="config has no persons of ours"):
        of({}, {"unit": "person"})
    with pytest.raises(ValueError, match="config has a sampling rate above 1: 2"):
        of({"persons": 5}, {"unit": "person"})


@pytest.mark.long
def test_every_private_point_of_the_picture_has_its_ceiling_beside_it():
    data = made(replicates=11)  # 1,100 non-members a cell
    figure = plots.against_epsilon(data, "white_box")
    bars = {line.get_label(): line for line in figure.axes[0].containers if line.get_label() == CEILING}
    assert set(bars) == {CEILING}
    drawn = bars[CEILING].lines[0]
    expected = ceilings(data)
    expected = expected[expected["train_size"] == 100]
    assert sorted(drawn.get_ydata()) == pytest.approx(sorted(expected["largest_auc"]))
    assert sorted(set(drawn.get_xdata())) == [2.0, 8.0]
    tpr = figure.axes[2]
    assert tpr.get_ylabel() == "TPR at 1 % FPR" and tpr.get_yscale() == "log"
    assert sorted(tpr.containers[0].lines[0].get_ydata()) == pytest.approx(sorted(expected["largest_tpr"]))
    few = plots.against_epsilon(made(), "white_box")
    assert [axis.get_ylabel() for axis in few.axes] == ["AUC of white_box", ""], "TPR cannot be told there"
    plt.close("all")


def test_a_network_without_private_arms_stands_beside_those_of_one_that_has_them():
    data = made()
    bare = data.wide[(data.wide[ARM] == "none") & (data.wide["train_size"] == 100)]
    further = bare.assign(variant="published", trial_id=bare["trial_id"] + "p")
    scores = data.scores[data.scores["trial_id"].isin(bare["trial_id"])]
    both = pd.concat([data.scores, scores.assign(trial_id=scores["trial_id"] + "p")], ignore_index=True)
    data = replace(data, wide=pd.concat([data.wide, further], ignore_index=True), scores=both)
    figure = plots.against_epsilon(data, "white_box")
    first, second = figure.axes
    assert [axis.get_title() for axis in (first, second)] == ["dcgan, n = 100", "dcgan, n = 400"]
    words = [text.get_text() for text in first.get_xticklabels()]
    assert words[-3:] == ["published, none", "none", "dropout"]
    places = dict(zip(words, first.get_xticks(), strict=True))

    def drawn(axis):
        points = [bar.lines[0].get_xdata() for bar in axis.containers if bar.get_label() != CEILING]
        return [x for xs in points for x in xs if abs(np.log(x / places["published, none"])) < 0.3]

    assert len(drawn(first)) == 3, "one of each level of epochs"
    assert not drawn(second), "it was trained with n = 100 alone"
    plt.close(figure)

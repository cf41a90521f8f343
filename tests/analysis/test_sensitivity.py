from itertools import product
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from analysis.stats.cells import cells
from analysis.stats.declared import declared, replicates_needed
from analysis.stats.inference import over_looks
from analysis.stats.sensitivity import interactions, main_effects, slopes
from analysis.study_data import ARM, load
from study.store import Store
from study.verdicts.controls import holm
from tests.analysis.synthetic import ARMS, EPOCHS, GRID, SIZES, draw, panel_study, study, true_auc, write_store

STUDIES = 60
TRUTH = np.array([0.8 * (arm == "none") + 0.2 * np.log2(e) - 0.1 * np.log2(n) for arm, n, e in GRID])
"""Main effects alone: in log odds, 0.2 a doubling of epochs, -0.1 of n, -0.8 for any defense."""


def terms(kind):
    """Weights of an effect, as the tables take them."""
    doubling = dict(zip(EPOCHS, np.array([-1, 0, 1]) / 4, strict=True))
    return {
        "main": {ARM: {"dropout": 1.0, "none": -1.0}},
        "interaction": {ARM: {"dropout": 1.0, "none": -1.0}, "epochs": {160: 1.0, 10: -1.0}},
        "slope": {"epochs": doubling},
        "one cell": {ARM: {"dp_sgd 2": 1.0, "none": -1.0}, "train_size": {400: 1.0}, "epochs": {160: 1.0}},
    }[kind]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["main", "interaction", "slope", "one cell"])
def test_intervals_of_effects_cover_what_is_true_of_records_like_these(kind):
    gains = np.array([(0.2 + 0.6 * (arm == "none")) * np.log2(e / 5) / 5 for arm, _, e in GRID])
    data = panel_study(np.random.default_rng(len(kind)), gains, 5, records=60, attacks=STUDIES)
    truth = pd.Series([true_auc(gain) for gain in gains], GRID)
    found = []
    for attack in data.attacks:
        matrix = cells(data, attack, "auc")
        weights, contexts = matrix.weights(terms(kind))
        found.append(matrix.effect(weights, contexts))
    true = sum(weight * truth[where(matrix.names, cell)] for cell, weight in weights.items())
    inside = [row["low"] <= true <= row["high"] for row in found]
    assert abs(np.mean(inside) - 0.95) <= 0.02 + 3 * (0.95 * 0.05 / STUDIES) ** 0.5


def where(names, cell):
    """A cell of a matrix as one of `GRID`."""
    named = dict(zip(names, cell, strict=True))
    return tuple(named[name] for name in GRID.names)


@pytest.mark.slow
def test_declared_contrasts_of_a_study_without_effects_raise_a_false_alarm_in_5_studies_of_100():
    data = panel_study(np.random.default_rng(1), np.full(len(GRID), 0.4), 5, records=60, attacks=STUDIES)
    tables = [declared(data, attack) for attack in data.attacks]
    assert all(len(table) == 3 * 2 + 1 + 2 for table in tables)
    p = np.concatenate([table["p"].to_numpy(float) for table in tables])
    assert np.mean(p < 0.05) <= 0.05 + 3 * (0.95 * 0.05 / STUDIES) ** 0.5
    assert np.mean([table["settled"].any() for table in tables]) <= 0.05 + 3 * (0.95 * 0.05 / STUDIES) ** 0.5


def plain(values, level, baseline, axis):
    """Differences of two levels of one axis of [R, arms, sizes, epochs], averaged over the others, by loops."""
    found = []
    for replicate in values:
        differences = []
        for place in product(*(range(size) for size in replicate.shape)):
            if place[axis] == level:
                other = list(place)
                other[axis] = baseline
                differences.append(replicate[place] - replicate[tuple(other)])
        found.append(np.mean(differences))
    return np.array(found)


def test_main_effects_interactions_and_slopes_are_those_of_a_plain_computation():
    values = draw(np.random.default_rng(1), 6, TRUTH)
    made = study(values)
    shaped = made.wide["auc"].to_numpy().reshape(6, len(ARMS), len(SIZES), len(EPOCHS))
    table = main_effects(made, "white_box").set_index(["factor", "level"])
    assert list(table["contexts"]) == [12, 8, 8, 6, 6, 6]
    for (factor, level), axis, number in [
        (("arm", "dropout"), 0, 3), (("train_size", 400), 1, 1), (("epochs", 160), 2, 2),
    ]:  # fmt: skip
        expected = plain(shaped, number, 0, axis)
        row = table.loc[(factor, level)]
        assert row["effect"] == pytest.approx(expected.mean())
        assert row["sd"] == pytest.approx(expected.std(ddof=1))
        assert row["replicates"] == 6
    both = interactions(made, "white_box")
    row = both[(both["level"] == 400) & (both["by_level"] == "dropout")].iloc[0]
    assert row["effect"] == pytest.approx(
        ((shaped[:, 3, 1] - shaped[:, 3, 0]) - (shaped[:, 0, 1] - shaped[:, 0, 0])).mean()
    )
    linear = both[both["kind"] == "linear"].iloc[0]
    of_size = (shaped[:, :, 1] - shaped[:, :, 0]) / 2
    assert linear["effect"] == pytest.approx(((of_size[..., 2] - of_size[..., 0]) / 4).mean())
    slope = slopes(made, "white_box").set_index("x")
    assert slope.loc["log2 epochs", "effect"] == pytest.approx(((shaped[..., 2] - shaped[..., 0]) / 4).mean())
    private = slope.loc["log2 epsilon"]
    assert (private["defense"], private["levels"], private["contexts"]) == ("dp_sgd", 2, 6)
    assert private["effect"] == pytest.approx(((shaped[:, 1] - shaped[:, 2]) / 2).mean())
    assert "strength" not in slope.index  # dropout has one


def test_a_replicate_that_lacks_a_cell_is_left_out_of_its_effects_only_and_counted():
    values = draw(np.random.default_rng(2), 6, TRUTH)
    gone = GRID.get_loc(("dropout", 400, 160))
    values[3, gone] = np.nan
    table = main_effects(study(values), "white_box").set_index(["factor", "level"])
    assert table.loc[("arm", "dropout"), ["replicates", "left_out"]].tolist() == [5, 1]
    assert table.loc[("arm", "dp_sgd 2"), ["replicates", "left_out"]].tolist() == [6, 0]
    values[:, gone] = np.nan  # a cell that nobody has takes away its contexts, and no replicate
    table = main_effects(study(values), "white_box").set_index(["factor", "level"])
    assert table.loc[("arm", "dropout"), ["replicates", "left_out", "contexts"]].tolist() == [6, 0, 5]


def test_all_but_the_declared_contrasts_of_the_primary_attack_are_exploratory():
    values = draw(np.random.default_rng(3), 5, TRUTH)
    made = study(values)
    assert set(main_effects(made, "white_box")["status"]) == {"exploratory"}
    table = declared(made)
    assert set(table["status"]) == {"declared"}
    first_look = np.pi**2 / 6  # what the first of all looks costs
    assert table["p_holm"].to_numpy() == pytest.approx(np.minimum(1, holm(table["p"].to_numpy()) * first_look))
    made.kept["declaration"] = SimpleNamespace(looks=2, family=(), arms={}, hash="0")
    assert over_looks(made, np.array([0.001, 0.5])) == pytest.approx([0.004 * first_look, 1.0])
    del made.kept["declaration"]
    both = pd.concat([made.wide, made.wide.assign(attack="euclidean")], ignore_index=True)
    scores = pd.concat([made.scores, made.scores.assign(attack_id="euclidean")])
    both["attack_id"] = both["attack"]
    other = type(made)("made", made.folder, both, {"audit": {"attack": "euclidean"}}, scores)
    assert other.primary == "euclidean"
    assert set(declared(other)["status"]) == {"declared"}
    assert set(declared(other, "white_box")["status"]) == {"exploratory"}


def test_so_many_replicates_settle_an_effect_as_are_said_to():
    table = pd.DataFrame({"effect": [0.5, 1.0, 0.0, 0.5], "sd": [0.5, 0.3, 1.0, np.nan], "replicates": [5, 5, 5, 1]})
    found = replicates_needed(table, family=7)
    assert found["needed"].isna().tolist() == [False, False, True, True]
    random = np.random.default_rng(4)
    for effect, sd, needed in found.loc[:1, ["effect", "sd", "needed"]].itertuples(index=False):
        power = []
        for count in (int(needed) - 1, int(needed)):
            draws = effect + sd * random.normal(size=(20_000, count))
            statistic = draws.mean(1) / (draws.std(1, ddof=1) / count**0.5)
            power.append(np.mean(abs(statistic) > t.ppf(1 - 0.05 / 14, count - 1)))
        assert power[0] < 0.8 + 0.01 and power[1] > 0.8 - 0.01
    assert (found.loc[:1, "needed_low"] <= found.loc[:1, "needed"]).all()
    assert (found.loc[:1, "needed_high"] > found.loc[:1, "needed"]).all()
    assert found.loc[0, "more"] == found.loc[0, "needed"] - 5
    fixed = replicates_needed(table.assign(sd_records=[0.1, 0.6, 0.0, 0.0]), family=7)
    assert fixed.loc[0, "needed"] > found.loc[0, "needed"]
    assert pd.isna(fixed.loc[1, "needed"])  # what records differ by no replicate takes away
    assert replicates_needed(table.assign(settled=True))["more"].eq(0).all()
    with pytest.raises(ValueError, match="family >= 1"):
        replicates_needed(table, family=0)


@pytest.mark.slow
def test_effects_planted_in_a_real_store_are_found(tmp_path):
    def leak(trial):
        return (80 / trial.cell.train_size) * (trial.cell.arm.label == "none") * (trial.epochs == 2)

    data = load(write_store(tmp_path, leak, overrides=("replicates=8",)))
    assert data.factors == {
        "train_size": [40, 80], "epochs": [1, 2], "arm": ["none", "dp_sgd sigma=1", "dropout 0.5"],
    }  # fmt: skip
    # d' of 2 and 1 are AUCs of .92 and .76.
    truth = {("arm", 40): -0.42, ("arm", 80): -0.26, ("epochs", 40): 0.42, ("epochs", 80): 0.26, ("train_size",): -0.16}
    table = declared(data)
    assert len(table) == 7 and table["replicates"].eq(8).all()
    for row in table.itertuples():
        key = (row.factor,) if row.factor == "train_size" else (row.factor, row.train_size)
        # 20 members of 80 queries: an AUC is known to about 0.07, a mean difference of 8 pairs to 0.035
        assert row.effect == pytest.approx(truth[key], abs=4 * 0.035)
    assert table.loc[table["effect"].abs() > 0.35, "settled"].all()
    quality = main_effects(data, "white_box", data.quality).set_index("factor")
    assert quality.loc["epochs", "effect"] == pytest.approx(-0.5, abs=0.02)


@pytest.mark.slow
def test_the_declared_contrasts_are_those_of_the_spec_that_was_sealed_first(tmp_path):
    def leak(trial):
        return 0.5

    folder = write_store(tmp_path, leak)
    store = Store.at(folder)
    resolved, rows = store.resolved(), store.design().to_pylist()
    assert len(declared(load(folder))) == 7
    store.publish("later", {**resolved, "contrasts": [{"factor": "train_size"}], "replicates": 6}, rows, {})
    assert len(declared(load(folder))) == 7, "what is declared after a look is not declared"
    store.place.remove("study.json")
    store.publish("first", {**resolved, "contrasts": [{"factor": "train_size"}]}, rows, {})
    assert declared(load(folder))["factor"].tolist() == ["train_size"]

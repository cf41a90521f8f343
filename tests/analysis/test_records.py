import numpy as np
import pytest

from analysis.stats import records as module
from analysis.stats.records import by_class, by_group, records, reliability, share_at_risk
from analysis.study_data import load
from mia_core.derived.evidence import normal_scores
from study.store import read
from tests.analysis.synthetic import write_store


def test_normal_scores_inside_trials_keep_what_membership_changes():
    # The truth on that scale is what very many replicates of the same records show.
    random = np.random.default_rng(1)
    effect = np.where(np.arange(100) < 30, 2.0, 0.0)
    difficulty = random.normal(size=(100, 1))

    def panel(replicates):
        member = random.random((100, replicates)) < 0.5
        values = difficulty + member * effect[:, None] + random.normal(size=member.shape)
        return module.Panel(np.arange(100), np.arange(100), normal_scores(np.exp(values.T)).T, member, 0.5)

    many = panel(3000)
    truth = (many.score * many.member).sum(1) / many.member.sum(1)
    truth -= (many.score * ~many.member).sum(1) / (~many.member).sum(1)
    assert truth[30:] == pytest.approx(0.0, abs=0.15) and truth[:30].min() > 0.7
    inside = []
    for _ in range(60):
        table = module.estimates(panel(8), "query")
        own = truth[table["query"]]
        inside.append(((table["low"] <= own) & (own <= table["high"])).mean())
    assert np.mean(inside) >= 0.95 - 3 * np.std(inside) / 60**0.5


def test_a_class_is_covered_over_replicates_and_records_and_equal_classes_differ_in_5_studies_of_100():
    # Records leak unequally, so that an interval over replicates alone would be too short; 3 records share a coin.
    random = np.random.default_rng(2)
    inside, differs = [], []
    for _ in range(400):
        person = np.arange(120) // 3
        member = (random.random((40, 8)) < 0.5)[person]
        gain = random.exponential(size=40)[person][:, None]
        own = random.normal(size=(40, 1))[person] + 0.5 * random.normal(size=(120, 1))
        score = own + gain * member + random.normal(size=(1, 8)) + random.normal(size=(120, 8))
        panel = module.Panel(np.arange(120), person, score, member, 0.5)
        row = module._of_class(panel, person % 2 == 0)
        inside.append(row["low"] <= 1 <= row["high"])
        differs.append(row["p"] < 0.05)
    assert 0.95 - 3 * (0.05 * 0.95 / 400) ** 0.5 <= np.mean(inside) <= 0.99
    assert np.mean(differs) <= 0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5


@pytest.mark.parametrize(("records", "probability"), [(14, 0.5), (44, 0.159)])
def test_small_classes_that_do_not_differ_are_said_to_in_5_studies_of_100_at_most(records, probability):
    every = round(records * 10)
    random = np.random.default_rng(3)
    rows = []
    for _ in range(600):
        member = random.random((every, 5)) < probability
        gain = random.exponential(size=(every, 1))
        score = 0.9 * random.normal(size=(every, 1)) + 0.45 * random.normal(size=(every, 5)) + gain * member
        panel = module.Panel(np.arange(every), np.arange(every), score, member, probability)
        rows.append(module._of_class(panel, np.arange(every) < records))
    assert np.mean([row["p"] < 0.05 for row in rows]) <= 0.05
    assert np.mean([row["low"] <= 1 <= row["high"] for row in rows]) >= 0.95


def test_units_with_several_records_are_judged_by_their_mean_score():
    score, member = np.arange(15.0).reshape(5, 3), np.array([[1, 0, 1]] * 2 + [[0, 1, 0]] * 3, bool)
    panel = module.Panel(np.arange(5), np.array([7, 7, 9, 9, 11]), score, member, 0.5)
    groups = panel.by_unit()
    assert groups.query.tolist() == [7, 9] and panel.units == 3
    assert (groups.score == [score[:2].mean(0), score[2:4].mean(0)]).all()
    assert (groups.member == member[[0, 2]]).all()


RISKY = 7
"""The class whose records leak: 11 of the panel's 40 have it."""


def test_records_at_risk_are_read_from_a_store_and_classes_from_the_data(tmp_path, monkeypatch):
    from mia_core.data import load_pool
    from tests.small import small_spec

    pool = load_pool(small_spec().data)
    risky = {int(query): 6.0 for query in np.flatnonzero(pool.labels == RISKY)}
    only = ("replicates=12", "factors.defense=[none]", "factors.train_size=[40]", "factors.epochs=[1]", "seed=8")
    data = load(write_store(tmp_path, lambda trial: 0.0, risky, overrides=only))
    table = records(data, "white_box")
    assert (table["label"] == pool.labels[table["query"]]).all()
    assert set(table.loc[table["q"] < 0.05, "label"]) == {RISKY}
    assert (table["inside"] + table["outside"] == 12).all() and (table["inside"] > 0).all()
    share = share_at_risk(data, "white_box").iloc[0]
    judged = read(data.store.root, data.name, "scores").query("judged")["query"].nunique()
    assert share["records"] == len(table) and share["records"] + share["one_sided"] == judged
    assert share["low"] <= (table["label"] == RISKY).mean() and share["least_p"] == pytest.approx(1 / 4094)
    of_class = by_class(data, "white_box").set_index("label")
    assert of_class["difference"].idxmax() == RISKY
    assert of_class.loc[RISKY, "low"] > 0.5
    assert reliability(data, "white_box")["reliability"].item() > 0.3
    assert by_group(data, "white_box").attrs["reason"] == "every record is its own group"
    with pytest.raises(ValueError, match="a cell has variant"):
        records(data, "white_box", {"size": 4})

    def absent(choice):
        raise ValueError("no data here")

    monkeypatch.setattr("analysis.stats.pool_at_hand.load_pool", absent)
    data = load(data.folder)
    assert by_class(data, "white_box").attrs["reason"] == "no data here"
    assert records(data, "white_box")["label"].isna().all()


def test_two_replicates_are_too_few_and_that_is_said(tmp_path):
    only = ("replicates=2", "factors.defense=[none]", "factors.train_size=[40]", "factors.epochs=[1]")
    data = load(write_store(tmp_path, lambda trial: 0.0, overrides=only))
    table = records(data, "white_box")
    assert table.empty and table.attrs["reason"].startswith("2 replicates")
    assert reliability(data, "white_box")["reason"].item().startswith("2 replicates")
    assert share_at_risk(data, "white_box")["reason"].item().startswith("2 replicates")

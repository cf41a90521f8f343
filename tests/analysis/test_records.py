import numpy as np
import pandas as pd
import pytest

from analysis.stats import records as module
from analysis.stats.records import by_class, by_group, moderated, records, reliability, shrink
from analysis.study_data import load
from tests.analysis.synthetic import write_store


def scores(random, count, replicates, theta, noise=1.0):
    """Normal scores of records whose membership is a coin, and adds theta to them."""
    member = random.random((count, replicates)) < 0.5
    values = random.normal(size=(count, 1)) + member * theta[:, None] + noise * random.normal(size=(count, replicates))
    place = np.indices(member.shape).reshape(2, -1)
    return pd.DataFrame(
        {"query": place[0], "replicate": place[1], "member": member.ravel(), "score": values.ravel()}
    ), member, values  # fmt: skip


@pytest.mark.parametrize("replicates", [5, 10, 20])
def test_records_without_effect_are_found_at_risk_in_5_studies_of_100_and_false_discoveries_are_few(replicates):
    random = np.random.default_rng(replicates)
    false, shares, found = [], [], []
    for _ in range(60):
        noise = np.exp(0.3 * random.normal(size=(200, 1)))  # records differ in noise, too
        table = module._estimates(scores(random, 200, replicates, np.zeros(200), noise)[0], "query")
        false.append((table["q"] < 0.05).any())
        theta = np.where(np.arange(200) < 60, 4.0, 0.0)
        table = module._estimates(scores(random, 200, replicates, theta, noise)[0], "query")
        called = table[table["q"] < 0.05]
        shares.append((called["query"] >= 60).mean() if len(called) else 0.0)
        found.append((called["query"] < 60).sum() / (table["query"] < 60).sum())
    assert np.mean(false) <= 0.05 + 3 * (0.05 * 0.95 / 60) ** 0.5
    assert np.mean(shares) <= 0.06
    assert np.mean(found) > (0.4 if replicates == 5 else 0.9)


@pytest.mark.parametrize("replicates", [5, 10, 20])
def test_shrunk_differences_are_nearer_the_truth_and_their_intervals_hold_it(replicates):
    random = np.random.default_rng(replicates)
    raw, shrunk, inside = [], [], []
    for _ in range(30):
        theta = 0.5 + 0.6 * random.normal(size=300)
        table = module._estimates(scores(random, 300, replicates, theta)[0], "query")
        truth = theta[table["query"]]
        raw.append(((table["difference"] - truth) ** 2).mean())
        shrunk.append(((table["shrunk"] - truth) ** 2).mean())
        inside.append((abs(table["shrunk"] - truth) <= 1.96 * table["shrunk_error"]).mean())
    assert np.mean(shrunk) < 0.9 * np.mean(raw)
    assert np.mean(inside) == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize("replicates", [5, 10])
def test_reliability_is_the_share_of_spread_that_is_the_records_own(replicates, monkeypatch):
    monkeypatch.setattr(module, "RESAMPLES", 50)
    random = np.random.default_rng(replicates)
    for spread in (0.0, 1.0):
        halves, expected = [], []
        for _ in range(20):
            theta = spread * random.normal(size=300)
            _, member, values = scores(random, 300, replicates, theta)
            usable = np.minimum(member.sum(1), (~member).sum(1)) >= 2
            halves.append(module._reliability(values[usable], member[usable])["reliability"])
            noise = (1 / member[usable].sum(1) + 1 / (~member[usable]).sum(1)).mean()
            expected.append(spread**2 / (spread**2 + noise))
        assert np.mean(halves) == pytest.approx(np.mean(expected), abs=0.06)


def test_moderated_variances_are_limmas_on_a_worked_example():
    # Variances drawn around one value are pooled as a whole; unequal ones are drawn toward their middle, in order.
    random = np.random.default_rng(1)
    freedom = np.full(4000, 3.0)
    same, total = moderated(random.chisquare(3, 4000) / 3, freedom)
    assert same.std() < 0.1 and total.min() > 50
    true = 1 / random.gamma(4, 1 / 4, 4000)  # scaled inverse chi-square of 8 degrees around 1
    own = true * random.chisquare(3, 4000) / 3
    found, total = moderated(own, freedom)
    assert total[0] - 3 == pytest.approx(8, rel=0.25)
    assert found == pytest.approx(
        (3 * own + (total[0] - 3) * np.median((found * total - 3 * own) / (total - 3))) / total
    )
    assert ((found - true) ** 2).mean() < 0.5 * ((own - true) ** 2).mean()


def test_without_spread_beyond_errors_all_differences_shrink_to_their_mean():
    mean, error = shrink(np.array([1.0, 1.1, 0.9]), np.ones(3))
    assert mean == pytest.approx(1.0) and error == pytest.approx(0.0)


def test_records_at_risk_are_read_from_a_store_and_classes_from_the_data(tmp_path, monkeypatch):
    from mia_core.data import load_pool
    from tests.small import small_spec

    pool = load_pool(small_spec().data)
    risky = {int(query): 6.0 for query in np.flatnonzero(pool.labels == 3)}
    only = ("replicates=8", "factors.defense=[none]", "factors.train_size=[40]", "factors.epochs=[1]")
    data = load(write_store(tmp_path, lambda trial: 0.0, risky, overrides=only))
    table = records(data, "white_box")
    assert (table["label"] == pool.labels[table["query"]]).all()
    assert set(table.loc[table["q"] < 0.05, "label"]) == {3}
    assert (table["inside"] + table["outside"] == 8).all() and (table["inside"] > 0).all()
    of_class = by_class(data, "white_box").set_index("label")
    assert of_class["difference"].idxmax() == 3
    assert of_class.loc[3, "low"] > 0.5
    assert reliability(data, "white_box")["reliability"].item() > 0.3
    assert by_group(data, "white_box").attrs["reason"] == "every record is its own group"
    with pytest.raises(ValueError, match="a cell has variant"):
        records(data, "white_box", {"size": 4})
    monkeypatch.setattr(module, "load_pool", lambda choice: (_ for _ in ()).throw(ValueError("no data here")))
    assert by_class(data, "white_box").attrs["reason"] == "no data here"
    assert records(data, "white_box")["label"].isna().all()


def test_two_replicates_are_too_few_and_that_is_said(tmp_path):
    only = ("replicates=2", "factors.defense=[none]", "factors.train_size=[40]", "factors.epochs=[1]")
    data = load(write_store(tmp_path, lambda trial: 0.0, overrides=only))
    table = records(data, "white_box")
    assert table.empty and table.attrs["reason"].startswith("2 replicates")
    assert reliability(data, "white_box")["reason"].item().startswith("2 replicates")

import numpy as np
import pandas as pd
import pytest
from SALib.sample import sobol as sample

from analysis.stats import indices as module
from analysis.stats.indices import anova_rows, fanova_rows, forest_shares, indices, sobol_rows
from tests.analysis.synthetic import GRID, draw, study

PROBLEM = {"num_vars": 3, "names": ["a", "b", "c"], "bounds": [[0, 1]] * 3}


@pytest.mark.parametrize("second_order", [True, False])
def test_sobol_indices_are_the_known_ones_and_noise_is_told_apart(second_order):
    x = sample.sample(PROBLEM, 512, calc_second_order=second_order, seed=1)
    # Variances 16/12 and 4/12, and of the product of two centered uniforms (6/12)^2 x ... = 36 / 144.
    truth = 4 * x[:, 0] + 2 * x[:, 1] + 6 * (x[:, 0] - 0.5) * (x[:, 1] - 0.5)
    total = 16 / 12 + 4 / 12 + 36 / 144
    y = truth + 0.3 * np.random.default_rng(1).normal(size=(5, len(x)))
    table = pd.DataFrame(sobol_rows(PROBLEM, y, second_order)).set_index(["index", "factor"])
    first = {"a": 16 / 12 / total, "b": 4 / 12 / total, "c": 0.0}
    for name, value in first.items():
        row = table.loc[("first", name)]
        assert row["estimate"] == pytest.approx(value, abs=0.05)
        assert row["low"] <= value <= row["high"]
    assert table.loc[("total", "b"), "estimate"] == pytest.approx((4 / 12 + 36 / 144) / total, abs=0.05)
    noise = table.xs("noise")["estimate"].item()
    assert noise == pytest.approx(0.09 / 5 / total, rel=0.15)
    assert table.loc[("total", "c"), "estimate"] == pytest.approx(0, abs=0.01)  # freed of what noise adds to it
    if second_order:
        pair = table.xs("second").set_index("other", append=True).loc[("a", "b"), "estimate"]
        assert pair == pytest.approx(36 / 144 / total, abs=0.08)


def test_sobol_indices_of_the_ishigami_function_are_the_known_ones():
    # f = sin a + 7 sin^2 b + .1 c^4 sin a on (-pi, pi): first .314, .442, 0; total .558, .442, .244 (Saltelli et al.).
    problem = {"num_vars": 3, "names": ["a", "b", "c"], "bounds": [[-np.pi, np.pi]] * 3}
    x = sample.sample(problem, 1024, calc_second_order=False, seed=1)
    y = np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0])
    table = pd.DataFrame(sobol_rows(problem, y[None], False)).set_index("index")
    assert table.loc["first", "estimate"].tolist() == pytest.approx([0.314, 0.442, 0.0], abs=0.03)
    assert table.loc["total", "estimate"].tolist() == pytest.approx([0.558, 0.442, 0.244], abs=0.03)


def test_on_pure_noise_no_sobol_index_looks_important():
    # A total index is 1 by noise alone; what replicates differ by takes that away.
    low, first = [], []
    for seed in range(60):
        x = sample.sample(PROBLEM, 16, calc_second_order=False, seed=seed)
        y = np.random.default_rng(seed).normal(size=(5, len(x)))
        table = pd.DataFrame(sobol_rows(PROBLEM, y, False))
        totals = table[table["index"] == "total"]
        low.append(totals["low"].to_numpy() > 0)
        first.append(totals["estimate"].mean())
    assert abs(np.mean(first)) < 0.2  # a little above 0, as no more than all of the variance is taken away as noise
    assert np.mean(low) <= 0.05 + 3 * (0.05 * 0.95 / 180) ** 0.5


@pytest.mark.long
def test_importances_order_factors_of_numbers_and_of_words():
    random = np.random.default_rng(2)
    x = pd.DataFrame({"a": random.random(80), "b": random.random(80), "word": random.choice(["u", "v"], 80)})
    y = 4 * x["a"].to_numpy() + 1.5 * (x["word"] == "u").to_numpy() + 0.05 * random.normal(size=(3, 80))
    table = pd.DataFrame(fanova_rows(x, y)).set_index("factor")
    truth = np.array([16 / 12, 0, 1.5**2 / 4]) / (16 / 12 + 1.5**2 / 4)
    assert table["estimate"].iloc[:3].tolist() == pytest.approx(truth.tolist(), abs=0.1)
    assert table.loc["b", "low"] <= 0 < table.loc["word", "low"] < table.loc["word", "high"] < table.loc["a", "low"]
    unpredicted = table.loc[table["index"] == "unpredicted", "estimate"].item()
    assert 0 < unpredicted < 0.15
    assert table["estimate"].iloc[:3].sum() + unpredicted <= 1.06  # and interactions, of which there are none


def test_shares_of_a_forest_of_a_product_leave_the_interaction_to_no_factor():
    random = np.random.default_rng(3)
    x = pd.DataFrame(random.random((400, 2)), columns=["a", "b"])
    y = (x["a"] - 0.5).to_numpy() * (x["b"] - 0.5).to_numpy()
    shares, predicted = forest_shares(x, y, 32, random)
    assert predicted > 0.7 and shares.max() < 0.15


@pytest.mark.slow
def test_on_pure_noise_no_factor_looks_important_and_the_forest_predicts_nothing(monkeypatch):
    for name, count in {"HALVES": 8, "TREES": 32, "FEWER_TREES": 16}.items():
        monkeypatch.setattr(module, name, count)
    random = np.random.default_rng(4)
    important, unpredicted = [], []
    for _ in range(20):
        x = pd.DataFrame(random.random((40, 3)), columns=list("abc"))
        table = pd.DataFrame(fanova_rows(x, random.normal(size=(3, 40)))).set_index("index")
        important.append((table.loc["importance", "low"] > 0).any())
        unpredicted.append(table.loc["unpredicted", "estimate"])
    assert sum(important) <= 3  # of 20 at 5 % each, more than 3 have a chance of 1.6 %
    assert np.mean(unpredicted) > 0.9


def test_shares_of_a_factorial_are_free_of_noise_on_average():
    truth = np.zeros((2, 3, 2)) + np.array([-1.0, 1.0])[:, None, None] + np.array([-1.0, 0.0, 1.0])[None, :, None] / 2
    lengths = np.array([(truth.mean((1, 2)) ** 2).mean(), (truth.mean((0, 2)) ** 2).mean()])
    noise = 0.5**2 / 5 * 11 / 12  # of the mean over 5 replicates, less that of the mean of 12 cells
    expected = lengths / (lengths.sum() + noise)
    random = np.random.default_rng(3)
    shares, inside, sums = [], [], []
    for _ in range(100):
        y = truth + 0.5 * random.normal(size=(5, 2, 3, 2)) + random.normal(size=(5, 1, 1, 1))
        table = pd.DataFrame(anova_rows(["a", "b", "c"], y))
        shares.append(table["estimate"])
        inside.append(table["low"].iloc[0] <= expected[0] <= table["high"].iloc[0])
        sums.append(table["estimate"].sum())
    found = np.mean(shares, axis=0)
    assert found[:2] == pytest.approx(expected, abs=0.02)
    assert found[2:6] == pytest.approx(0.0, abs=0.015)
    assert found[6] == pytest.approx(noise / (lengths.sum() + noise), abs=0.02)
    assert np.mean(sums) == pytest.approx(1.0, abs=0.02)  # the product of all three is the rest
    assert np.mean(inside) > 0.88


def test_shares_of_a_factorial_of_pure_noise_are_about_0_and_noise_is_all():
    random = np.random.default_rng(5)
    tables = [pd.DataFrame(anova_rows(["a", "b"], random.normal(size=(5, 3, 4)))) for _ in range(200)]
    found = np.mean([table["estimate"] for table in tables], axis=0)
    # A little below 0: where noise happens to be small, it is a larger part of what it is compared with.
    assert (found[:3] < 0.02).all() and (found[:3] > -0.12).all() and found[3] > 0.85
    important = np.mean([table["low"].iloc[:3].to_numpy(float) > 0 for table in tables])
    assert important <= 0.05 + 3 * (0.05 * 0.95 / 600) ** 0.5


def test_a_factorial_has_shares_and_one_with_missing_cells_has_the_reason():
    values = draw(np.random.default_rng(4), 5, np.array([1.0 * (arm == "none") for arm, _, _ in GRID]))
    table = indices(study(values), "white_box")
    assert table["factor"].iloc[table["estimate"].to_numpy(float).argmax()] == "arm"
    assert table["index"].tolist() == ["first"] * 3 + ["second"] * 3 + ["noise"]
    values[:, 0] = np.nan
    found = indices(study(values), "white_box")
    assert found.empty
    assert found.attrs["reason"] == "no replicate has white_box in all 24 cells of a full factorial"

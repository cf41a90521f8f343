import numpy as np
import pandas as pd
import pytest
from SALib.sample import sobol as sample

from analysis.stats import indices as module
from analysis.stats.indices import anova_rows, fanova_rows, indices, sobol_rows
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
    if second_order:
        pair = table.xs("second").set_index("other", append=True).loc[("a", "b"), "estimate"]
        assert pair == pytest.approx(36 / 144 / total, abs=0.08)


def test_importances_order_factors_of_numbers_and_of_words(monkeypatch):
    monkeypatch.setattr(module, "FORESTS", 3)
    random = np.random.default_rng(2)
    x = pd.DataFrame({"a": random.random(60), "b": random.random(60), "word": random.choice(["u", "v"], 60)})
    y = 4 * x["a"].to_numpy() + 0.5 * (x["word"] == "u").to_numpy() + 0.05 * random.normal(size=(3, 60))
    table = pd.DataFrame(fanova_rows(x, y)).set_index("factor")
    assert table.loc["a", "estimate"] > 0.8
    assert table.loc["a", "estimate"] > table.loc["word", "estimate"] > table.loc["b", "estimate"] - 0.02


def test_shares_of_a_factorial_are_free_of_noise_on_average():
    truth = np.zeros((2, 3, 2)) + np.array([-1.0, 1.0])[:, None, None] + np.array([-1.0, 0.0, 1.0])[None, :, None] / 2
    lengths = np.array([(truth.mean((1, 2)) ** 2).mean(), (truth.mean((0, 2)) ** 2).mean()])
    random = np.random.default_rng(3)
    shares, inside = [], []
    for _ in range(100):
        y = truth + 0.5 * random.normal(size=(5, 2, 3, 2)) + random.normal(size=(5, 1, 1, 1))
        table = pd.DataFrame(anova_rows(["a", "b", "c"], y))
        shares.append(table["estimate"].iloc[:6])
        inside.append(table["low"].iloc[0] <= lengths[0] / lengths.sum() <= table["high"].iloc[0])
    found = np.mean(shares, axis=0)
    assert found[:2] == pytest.approx(lengths / lengths.sum(), abs=0.02)
    assert found[2:] == pytest.approx(0.0, abs=0.015)
    assert np.mean(inside) > 0.88


def test_a_factorial_has_shares_and_one_with_missing_cells_has_the_reason():
    values = draw(np.random.default_rng(4), 5, np.array([1.0 * (arm == "none") for arm, _, _ in GRID]))
    table = indices(study(values), "white_box")
    assert table["factor"].iloc[table["estimate"].to_numpy(float).argmax()] == "arm"
    assert table["index"].tolist() == ["first"] * 3 + ["second"] * 3 + ["noise"]
    values[:, 0] = np.nan
    found = indices(study(values), "white_box")
    assert found.empty
    assert found.attrs["reason"] == "no replicate has white_box in all 24 cells of a full factorial"

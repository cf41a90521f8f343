"""Studies whose levels count steps: the same answers as over epochs, under their own names."""

import shutil

import numpy as np
import pandas as pd
import pytest

from analysis import tables
from analysis.checks import cautions
from analysis.report.headline import verdict
from analysis.stats.baselines import audits
from analysis.stats.declared import declared
from analysis.stats.guarantees import guarantees
from analysis.stats.indices import indices
from analysis.stats.records import records
from analysis.stats.scaling import against_size, onset, size_curve
from analysis.stats.sensitivity import interactions, main_effects, slopes
from analysis.stats.summary import effects_of, equal_steps, overview
from analysis.stats.tradeoff import best_quality, equal_quality, front, least_leakage
from analysis.study_data import load
from study.run.status import status
from study.store import Store
from study.tracking.run_content import run_content
from tests.analysis.synthetic import GRID, draw, study, write_store
from tests.analysis.visible import text_of
from tests.commands import mia_study

notebooks = mia_study("notebooks")
report = mia_study("report")

STEPS = GRID.set_names(["arm", "train_size", "steps"])
FACTORS = "factors={train_size: [40, 80], steps: [4, 7, 12], defense: [none, {name: dropout, rate: 0.5}]}"
SEEN = "At equal steps, records of a larger training set are seen fewer times: epochs = steps x batch size / n."


@pytest.fixture(scope="module")
def pair():
    """One set of numbers as a study over epochs and as one over steps."""
    random = np.random.default_rng(1)
    truth = np.array([0.8 * (arm == "none") + 0.2 * np.log2(e) - 0.1 * np.log2(n) for arm, n, e in GRID])
    leakage = draw(random, 5, truth)
    quality = 2 / np.log2(GRID.get_level_values("epochs").to_numpy()) + 0.1 * random.random((5, len(GRID)))
    over_steps = {"factors": {"steps": [10, 40, 160]}}
    return study(leakage, quality), study(leakage, quality, STEPS, resolved=over_steps)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A sealed store over steps, of which most end inside an epoch; leakage grows with them, less for more records."""
    return write_store(
        tmp_path_factory.mktemp("steps"),
        lambda trial: 40 * trial.steps / 10 / trial.cell.train_size,
        overrides=(FACTORS, "replicates=5"),
    )


TABLES = {
    "declared": declared,
    "main_effects": main_effects,
    "interactions": interactions,
    "slopes": slopes,
    "indices": indices,
    "of_training": lambda data, attack: effects_of(data, data.budget, attack),
    "equal_quality": equal_quality,
    "front": front,
    "least_leakage": lambda data, attack: least_leakage(data, attack, 0.6),
    "best_quality": lambda data, attack: best_quality(data, attack, 0.6),
    "against_size": against_size,
    "size_curve": size_curve,
    "onset": onset,
}


@pytest.mark.parametrize("name", TABLES)
def test_the_same_numbers_over_steps_give_the_same_table_under_other_names(pair, name):
    over_epochs, over_steps = (TABLES[name](data, "white_box") for data in pair)
    assert len(over_epochs)
    assert "epochs" not in over_steps
    assert over_epochs.to_json(double_precision=15).replace("epochs", "steps") == over_steps.to_json(
        double_precision=15
    )


@pytest.mark.slow
def test_every_printed_table_is_the_same_under_other_names(pair, monkeypatch):
    monkeypatch.setattr("analysis.tables.audited", lambda data: pd.DataFrame())
    for data in pair:
        data.wide["accuracy_top_10pct"], data.wide["delta"] = 0.1, 1e-5
    shown = [
        "\n".join(f"{title}\n{tables.markdown(table)}" for title, table in tables.tables(data, "white_box"))
        for data in pair
    ]
    assert "epochs" in shown[0] and "epochs" not in shown[1]
    assert shown[0].replace("epochs", "steps") == shown[1]


@pytest.mark.slow
def test_the_verdict_compares_sizes_at_equal_steps(pair, monkeypatch):
    monkeypatch.setattr(Store, "public", False)
    said = [
        " ".join(str(part) for sentence in verdict(data, pd.DataFrame(), pd.DataFrame()).sentences for part in sentence)
        for data in pair
    ]
    assert "for 160 epochs without a defense" in said[0] and "at equal steps" not in said[0]
    assert "for 160 steps without a defense" in said[1] and "10 instead of 160 steps" in said[1]
    assert "400 instead of 100 records at equal steps" in said[1]


@pytest.mark.slow
def test_levels_are_read_from_the_store_also_where_they_end_inside_an_epoch(folder):
    data = load(folder)
    assert data.budget == "steps"
    assert data.cell == ("variant", "arm", "train_size", "steps")
    assert data.factors["steps"] == [4, 7, 12]
    assert data.wide["epochs"].isna().any()
    assert set(data.last["steps"]) == {12}
    assert overview(data).loc["steps", ""] == "4, 7, 12"
    effects = effects_of(data, "steps", "white_box")
    assert len(effects) == 2 * 2 * 2
    assert (effects["effect"] > 0).mean() > 0.7
    assert not any("epochs" in words for words in cautions(data))
    assert equal_steps(data) == [SEEN]


@pytest.mark.slow
def test_records_are_judged_after_the_last_steps(folder):
    data = load(folder)
    found = records(data, "white_box")
    assert len(found)
    pd.testing.assert_frame_equal(found, records(data, "white_box", {"steps": 12}))
    with pytest.raises(ValueError, match="train_size, steps, not epochs"):
        records(data, "white_box", {"epochs": 1})


@pytest.mark.slow
def test_all_commands_show_it_over_steps(folder, tmp_path, capsys):
    own = shutil.copytree(folder, tmp_path / "small")
    assert mia_study("tables")([str(own)]) == 0
    printed = capsys.readouterr().out
    assert SEEN in printed and "### AUC of white_box over steps and n" in printed
    assert "epochs" not in printed.replace(SEEN, "")
    assert mia_study("figures")([str(own), str(tmp_path / "figures")]) == 0
    assert (tmp_path / "figures" / "leakage_over_training.png").is_file()
    assert report([str(own)]) == 0
    page = text_of(own / "reports" / "report.html")
    assert SEEN in page and "AUC over steps, a panel an arm" in page and "When leakage sets in" in page
    assert "3 levels of steps" in page and "epochs" not in page.replace(SEEN, "")
    assert notebooks([str(own)]) == 0
    said = capsys.readouterr().out
    assert "04_private_training: does not fit" in said and said.count("does not fit") == 2  # and it is no search
    assert SEEN in text_of(own / "reports" / "01_sensitivity.html")


@pytest.mark.slow
def test_a_private_study_over_steps_has_guarantees_and_audits_by_steps(make_study, tmp_path):
    arm = "{name: dp_sgd, sigma: 1.0, clip: 1.0, delta: 1.0e-5}"
    factors = f"factors={{train_size: [60], steps: [3, 6], defense: [none, {arm}]}}"
    store = make_study(factors, "split.panel=120", "split.known=0", "replicates=1", "quality.measures=[]")
    data = load(store.uri)
    assert guarantees(data)["steps"].tolist() == [3, 6]
    audited = audits(data)
    assert audited["steps"].tolist() == [6, 6] and "epochs" not in audited
    out = tmp_path / "report.html"
    assert report([store.uri, "--out", str(out)]) == 0
    assert "for 6 steps without a defense" in text_of(out)
    (trial, *_) = data.wide["trial_id"]
    params = run_content(store, trial, False).params
    assert params["steps"] in ("3", "6") and "epochs" not in params
    assert status(store).levels["steps"] == {"3": (2, 2), "6": (2, 2)}


@pytest.mark.slow
def test_a_design_that_draws_its_steps_is_read_too(make_study, tmp_path, capsys):
    factors = "factors={train_size: [60], steps: {low: 2, high: 9}, training.learning_rate: {low: 1e-4, high: 1e-2}}"
    store = make_study(factors, "design={name: random, points: 8}", "replicates=2", "quality.measures=[]")
    assert mia_study("tables")([store.uri]) == 0
    assert "| steps | 2 to 9, whole |" in capsys.readouterr().out
    out = tmp_path / "report.html"
    assert report([store.uri, "--out", str(out)]) == 0
    assert "steps" in text_of(out) and "epochs" not in text_of(out)

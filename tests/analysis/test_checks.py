import pytest

from analysis.checks import cautions
from analysis.study_data import load
from tests.analysis.synthetic import write_store

FEW = ("factors.defense=[none]", "factors.epochs=[1, 2]", "replicates=5")


def said(folder):
    return cautions(load(folder))


def test_a_sweep_that_is_not_complete_and_unequal_replicates_are_said(tmp_path):
    folder = write_store(
        tmp_path, lambda trial: 0.0, done=lambda trial: (trial.replicate, trial.epochs) != (2, 2), overrides=FEW
    )
    words = said(folder)
    assert "The sweep is not complete: 18 of 20 trials are there." in words
    unequal = next(word for word in words if "unequal replicates" in word)
    assert "dcgan, none, n = 40, 2 epochs (4 of 5)" in unequal
    assert any(word.startswith("The control null says nothing: not run yet") for word in words)
    assert any(word.startswith("TPR at 1 % FPR cannot be told") for word in words)


def test_missing_cells_and_too_few_replicates_are_said(tmp_path):
    folder = write_store(
        tmp_path,
        lambda trial: 0.0,
        done=lambda trial: (trial.cell.train_size, trial.epochs) != (80, 2) and trial.replicate < 3,
        overrides=FEW,
    )
    words = said(folder)
    assert any("Cells are missing" in word and "dcgan, none, n = 80, 2 epochs" in word for word in words)
    assert any(word.startswith("Descriptive only: 3 replicates") for word in words)


def test_trials_that_a_search_chose_are_refused_as_effects(tmp_path):
    folder = write_store(tmp_path, lambda trial: 0.0, overrides=FEW, roles={"study": "adaptive"})
    assert any("20 trials were chosen by a search" in word for word in said(folder))


def test_a_failed_control_comes_first(tmp_path, monkeypatch):
    import pandas as pd

    data = load(write_store(tmp_path, lambda trial: 0.0, overrides=FEW))
    table = pd.DataFrame(
        {"control": ["blind"], "attack": ["blind"], "auc": [0.7], "ok": pd.array([False], "boolean"), "verdict": ["x"]}
    )
    words = cautions(data, controls=table)
    assert words[0] == "The control blind failed for the split (AUC 0.700): x."
    assert (
        words[1] == "Part of every AUC needs no target, and how large a part is not known: nothing here shows leakage."
    )
    assert not any("null" in word for word in words)


def test_a_folder_without_a_study_is_refused(tmp_path):
    with pytest.raises(ValueError):
        said(tmp_path / "nothing")

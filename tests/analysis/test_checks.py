import pytest

from analysis.checks import cautions
from analysis.study_data import load
from study.store import Store, read
from tests.analysis.synthetic import write_store
from tests.commands import mia_study
from tests.forging import diverge

FEW = ("factors.defense=[none]", "factors.epochs=[1, 2]", "replicates=5")


def said(folder):
    return cautions(load(folder))


@pytest.mark.long
def test_a_sweep_that_is_not_complete_and_unequal_replicates_are_said(tmp_path):
    folder = write_store(
        tmp_path, lambda trial: 0.0, done=lambda trial: (trial.replicate, trial.epochs) != (2, 2), overrides=FEW
    )
    words = said(folder)
    assert "The sweep is not complete: 18 of 20 trials are there." in words
    unequal = next(word for word in words if "unequal replicates" in word)
    assert "dcgan, none, n = 40, 2 epochs (4 of 5)" in unequal
    assert any(word.startswith("The control null says nothing: not run yet") for word in words)
    assert any(word.startswith("TPR at 1 % FPR cannot be estimated") for word in words)


@pytest.mark.long
def test_trainings_that_diverged_are_named_and_are_not_missing(tmp_path, capsys):
    store = Store.at(write_store(tmp_path, lambda trial: 0.0, overrides=FEW))
    trials = read(store.root, "small", "trials")
    for trial_id in trials.loc[(trials["replicate"] == 2) & (trials["epochs"] == 2), "trial_id"]:
        diverge(store, trial_id)
    words = said(store.folder)
    (line,) = [word for word in words if "diverged" in word]
    assert line.startswith("2 of 20 trainings diverged: a weight, a loss or a sample was not finite")
    assert "dcgan n=40 epochs=2 none replicate=2" in line
    assert not any("not complete" in word for word in words)
    assert any("unequal replicates" in word and "dcgan, none, n = 40, 2 epochs (4 of 5)" in word for word in words)
    assert mia_study("status")([str(store.folder)]) == 1  # its controls were not run
    assert "diverged:" in capsys.readouterr().out
    for trial_id in trials["trial_id"]:
        if not store.done([trial_id])[trial_id].diverged:
            diverge(store, trial_id)
    assert mia_study("tables")([str(store.folder)]) == 2
    assert "20 trainings diverged, and nothing was attacked" in capsys.readouterr().err


@pytest.mark.long
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


@pytest.mark.long
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

"""Fault 13: a study that is changed between two starts. A changed meaning is a new trial, and never mixed in.

An added attack: tests/study/test_sweep.py. Added and higher levels, replicates, and their bits: test_runner.py.
Fault 19, a table of wrong settings and files with their one-line errors: test_study_file.py, test_documents.py,
test_sweep.py.
"""

import pytest

from mia_core.data import load_pool
from study.design.study_design import Design
from study.design.work import missing
from study.outcomes import COMPLETE
from study.spec.study_file import read as read_spec
from study.store import Store, read
from tests.faults.faulty import STEPS_PER_EPOCH, TRIALS, Sweep, steps, wait_for

ANOTHER = {
    "seed": "8",
    "data.size": "16",
    "split.panel": "38",
    "target.width": "8",
    "training.learning_rate": "0.001",
    "training.batch_size": "8",
    "factors.train_size": "[42]",
}


@pytest.mark.slow
@pytest.mark.parametrize("key", ANOTHER)
def test_every_changed_meaning_is_all_new_trials(undisturbed, key):
    store = Store(undisturbed / "results", "small")
    spec = read_spec(undisturbed / "faulty.yaml", [f"{key}={ANOTHER[key]}"])
    design = Design(spec, load_pool(spec.data))
    assert not {trial.trial_id for trial in design.every} & set(store.done())
    assert all(work.train for works in missing(design, store).values() for work in works)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_level_added_and_a_meaning_changed_in_the_middle_of_a_sweep_are_never_mixed(undisturbed, tmp_path):
    with Sweep(tmp_path) as sweep:
        assert wait_for(lambda: len(steps(tmp_path)) > 20 * STEPS_PER_EPOCH, sweep)
        sweep.kill()
    with Sweep(tmp_path, "--set", "training.learning_rate=0.001", "--set", "factors.epochs=[1, 3]") as sweep:
        sweep.end(COMPLETE)
    assert len(read(tmp_path / "results", "small", "trials")) == TRIALS
    assert set(read(tmp_path / "results", "small", "trials")["epochs"]) == {1, 3}
    with Sweep(tmp_path) as sweep:
        sweep.end(COMPLETE)
    wanted, had = (read(place / "results", "small", "wide") for place in (tmp_path, undisturbed))
    assert wanted["auc"].tolist() == had["auc"].tolist()
    assert wanted["trial_id"].tolist() == had["trial_id"].tolist()
    assert len(read(tmp_path / "results", "small", "trials", all=True)) == 2 * TRIALS

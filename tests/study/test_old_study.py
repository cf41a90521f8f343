"""A study that an earlier version ran is gone on with today: nothing is done again; see stores/README.md."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mia_core.data import load_pool
from mia_core.training import Trainer
from study.design.design_rows import design_rows
from study.design.study_design import Design
from study.design.work import missing
from study.run.runner import Runner
from study.spec import documents
from study.spec.study_file import override, parse
from study.store import Store, read
from study.store.manifests import manifests
from study.store.reading import trial_tables
from study.store.roles import CANARY, STUDY
from study.store.schema import to_table
from tests.commands import mia_study
from tests.full_store import digests, run, write_people

main = mia_study("store")

FULL = Path(__file__).parent / "stores" / "format_2_full"
GOLDEN = json.loads((FULL / "golden.json").read_text())
RESULTS = Path("results")
LEVEL_3 = {"none": -0.0191786, "dropout": -0.0253067, "dp_sgd": -0.0292573}
NEARER = {
    "none": [-6.826906, -6.828027],
    "dropout": [-6.827103, -6.828926],
    "dp_sgd": [-6.826459, -6.828065],
}
"""Mean scores, of the white-box attack and of a further one after 1 and 2 epochs, that the store's own code went on to.

Of 20 records in replicate 1. Kernels of other processors change the eighth digit.
"""
NAMES = ["trial_id", "trajectory_id", "role", "kind", "id"]


@pytest.fixture(autouse=True)
def another_folder(tmp_path, monkeypatch):
    """Than the store was made in, with a copy of it and its data written anew."""
    monkeypatch.chdir(tmp_path)
    write_people(Path("people"))
    shutil.copytree(FULL, RESULTS)


@pytest.fixture
def store():
    return Store(RESULTS, "small")


@pytest.fixture
def trained(monkeypatch):
    """First and last step of each stretch of training, in their order."""
    stretches, run_to = [], Trainer.run_to

    def record(trainer, step):
        stretches.append((trainer.step, step))
        run_to(trainer, step)

    monkeypatch.setattr(Trainer, "run_to", record)
    return stretches


def planned(*overrides, further=()):
    """The design of the study file, with overrides, and further attacks."""
    document = documents.load(RESULTS / "small.yaml")
    for setting in overrides:
        override(document, setting)
    document["attacks"] += further
    spec = parse(document)
    return Design(spec, load_pool(spec.data))


def is_compared(trial):
    """Whether there are golden values of how it goes on."""
    return trial.role == STUDY and (trial.replicate, trial.cell.train_size) == (1, 20)


def require_golden_values(tables):
    """Later versions may add columns; those that there were have the same values in the same order."""
    found = digests(RESULTS, "small")
    for table in tables:
        assert found[table]["rows"] == GOLDEN[table]["rows"]
        columns = {name: found[table]["columns"].get(name) for name in GOLDEN[table]["columns"]}
        assert columns == GOLDEN[table]["columns"], table


@pytest.mark.parametrize("compacted", [True, False])
def test_every_column_of_every_table_has_the_values_it_was_written_with(store, compacted):
    if not compacted:
        shutil.rmtree(store.folder / "compacted")
    require_golden_values(GOLDEN)


def test_it_has_all_that_a_store_may_hold(store):
    """What the store was kept for, so that the tests here are about all of it."""
    split, trials, scores = planned().split, read(RESULTS, "small", "trials"), read(RESULTS, "small", "scores")
    assert np.isin(split.extra_non_members, scores["query"]).all()
    assert 0 < len(split.coins) < len(split.panel)
    assert np.bincount(split.pool.groups).max() > 1
    assert set(trials["role"]) == {"study", "blind", "null", "copycat", "canary"}
    assert trials.loc[trials["defense"] == "dp_sgd", "epsilon"].gt(0).all()
    trained = trials["role"].isin(["study", "null"])
    assert {path.stem for path in (store.folder / "targets").iterdir()} == set(trials["trial_id"][trained])
    last = trials[trained & (trials["epochs"] == 2)]
    states = {f"{row.trajectory_id}-{row.steps}" for row in last.itertuples()}
    assert {path.stem for path in (store.folder / "resume").iterdir()} == states
    (manifest,) = manifests(store.place)
    assert 0 < len(manifest["passes"]) < len(store.passes())


def test_the_same_study_file_plans_nothing_and_has_the_same_ids(store):
    design = planned()
    assert missing(design, store) == {}
    assert store.pointer()["spec"] == design.hash
    rows, stored = to_table("design", design_rows(design)).to_pandas(), read(RESULTS, "small", "design")
    assert rows[NAMES].to_dict("records") == stored[NAMES].to_dict("records")
    labelled = rows["kind"] != "trial"
    assert rows.loc[labelled, "label"].tolist() == stored.loc[labelled, "label"].tolist()
    trials = read(RESULTS, "small", "trials")
    assert [(trial.trial_id, trial.trajectory_id) for trial in design.every] == list(
        zip(trials["trial_id"], trials["trajectory_id"], strict=True)
    )
    assert {(trial.trial_id, wanted.attack_id) for trial in design.every for wanted in trial.attacks} == set(
        read(RESULTS, "small", "scores")[["trial_id", "attack_id"]].itertuples(index=False, name=None)
    )
    assert {(trial.trial_id, wanted.measure_id) for trial in design.every for wanted in trial.measures} == set(
        read(RESULTS, "small", "quality")[["trial_id", "measure_id"]].itertuples(index=False, name=None)
    )


def test_a_run_of_the_same_study_file_trains_nothing_and_changes_no_file_of_results(store, trained):
    before = {path: path.read_bytes() for path in store.folder.rglob("*") if path.is_file()}
    run(planned(), store)
    after = {path: path.read_bytes() for path in store.folder.rglob("*") if path.is_file()}
    assert not trained
    assert {path.name for path in before.keys() | after.keys() if before.get(path) != after.get(path)} <= {"study.json"}


def test_a_further_level_of_epochs_is_trained_from_the_kept_states(store, trained):
    design = planned("factors.epochs=[1, 2, 3]", "attacks=[white_box]")
    todo = missing(design, store)
    assert todo.keys() <= set(read(RESULTS, "small", "trials")["trajectory_id"])
    going_on = [works for works in todo.values() if works[0].trial.role != CANARY]  # which keeps no state
    assert len(going_on) == len(list((store.folder / "resume").iterdir()))
    for (work,) in going_on:
        assert work.train and work.trial.level == 3
    runner = Runner(design, store)
    some = [work for (work,) in going_on if is_compared(work.trial)]
    assert len(some) == len(LEVEL_3)
    for work in some:
        trained.clear()
        (sealed,) = runner.run([work])
        assert not sealed.failed
        trial, each = work.trial, work.trial.cell.steps_per_epoch
        assert trained == [(2 * each, 3 * each)]
        _, own = trial_tables(store, trial.trial_id, ["trials", "scores"])
        epsilon = own["trials"]["epsilon"].item()
        assert (None if np.isnan(epsilon) else epsilon) == design.epsilon(trial)
        assert own["scores"]["score"].mean() == pytest.approx(LEVEL_3[trial.cell.arm.defense], abs=1e-5)
    assert len(missing(design, store)) == len(todo) - len(some)
    assert main(["check", str(store.folder)]) == 0
    require_golden_values(GOLDEN)


def test_a_further_attack_alone_is_run_on_the_kept_targets(store, trained):
    design = planned(further=[{"name": "euclidean", "generated": 16, "label": "nearer"}])
    todo = missing(design, store)
    works = [work for works in todo.values() for work in works]
    assert len(works) == len(list((store.folder / "targets").iterdir()))
    for work in works:
        assert not work.train and not work.retrain and not work.measures
        assert [wanted.label for wanted in work.attacks] == ["nearer"]
    run(design, store)
    assert not trained
    assert missing(design, store) == {}
    found, scores = read(RESULTS, "small", "attacks"), read(RESULTS, "small", "scores")
    assert found["attack"].eq("nearer").sum() == len(works)
    assert len(found) == len(works) + GOLDEN["attacks"]["rows"]
    nearer = scores["attack_id"].isin(found.loc[found["attack"] == "nearer", "attack_id"])
    means = scores[nearer].groupby("trial_id")["score"].mean()
    compared = [trial for trial in design.trials if is_compared(trial)]
    assert len(compared) == sum(map(len, NEARER.values()))
    for trial in compared:
        assert means[trial.trial_id] == pytest.approx(NEARER[trial.cell.arm.defense][trial.level - 1], abs=1e-5)
    assert main(["check", str(store.folder)]) == 0
    require_golden_values(["trials", "quality", "history"])

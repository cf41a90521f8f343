"""A study that an earlier version ran: rows are read, and a plan says what counts no more; see stores/README.md."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mia_core.data import load_pool
from mia_core.training import VERSION, Trainer
from study.design.design_rows import design_rows
from study.design.study_design import Design
from study.design.work import missing
from study.plan.outdated import outdated
from study.plan.outlook import Outlook
from study.run.runner import Runner
from study.spec import documents
from study.spec.overrides import override
from study.spec.study_file import parse
from study.store import Store, read
from study.store.manifests import manifests
from study.store.roles import STUDY
from study.store.schema import to_table
from tests.commands import mia_study
from tests.full_store import digests, named_now, write_people

main = mia_study("store")

FULL = Path(__file__).parent / "stores" / "format_2_full"
GOLDEN = json.loads((FULL / "golden.json").read_text())
RESULTS = Path("results")


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


def require_golden_values(tables):
    """Later versions may add columns; those that there were have the same values in the same order."""
    found = digests(RESULTS, "small")
    for table in tables:
        assert found[table]["rows"] == GOLDEN[table]["rows"]
        then = named_now(table, GOLDEN[table]["columns"])
        assert {name: found[table]["columns"].get(name) for name in then} == then, table


@pytest.mark.slow
@pytest.mark.parametrize("compacted", [True, False])
def test_every_column_of_every_table_has_the_values_it_was_written_with(store, compacted):
    if not compacted:
        shutil.rmtree(store.folder / "compacted")
    require_golden_values(GOLDEN)


def test_it_has_all_that_a_store_may_hold(store):
    """What the store was kept for, so that the tests here are about all of it."""
    design, trials, scores = planned(), read(RESULTS, "small", "trials"), read(RESULTS, "small", "scores")
    queries = scores.groupby("query")
    assert (queries["member"].sum() == 0).sum() >= design.spec.resolved["split"]["extra_non_members"] > 0
    assert 0 < queries["coin"].any().mean() < 1
    assert np.bincount(design.pool.groups).max() > 1
    assert set(trials["role"]) == {"study", "blind", "null", "copycat", "canary"}
    assert trials.loc[trials["defense"] == "dp_sgd", "epsilon"].gt(0).all()
    trained = trials["role"].isin(["study", "null"])
    assert {path.stem for path in (store.folder / "targets").iterdir()} == set(trials["trial_id"][trained])
    last = trials[trained & (trials["epochs"] == 2)]
    states = {f"{row.trajectory_id}-{row.steps}" for row in last.itertuples()}
    assert {path.stem for path in (store.folder / "resume").iterdir()} == states
    (manifest,) = manifests(store.place)
    assert 0 < len(manifest["passes"]) < len(store.passes())


def test_the_same_study_file_has_the_same_design_under_other_ids(store):
    rows, stored = to_table("design", design_rows(planned())).to_pandas(), read(RESULTS, "small", "design")
    assert rows[["role", "kind"]].to_dict("records") == stored[["role", "kind"]].to_dict("records")
    labelled = rows["kind"] != "trial"
    assert rows.loc[labelled, "label"].tolist() == stored.loc[labelled, "label"].tolist()
    assert not set(rows["trial_id"].dropna()) & set(stored["trial_id"].dropna())


def test_its_plan_says_how_many_sealed_trials_count_no_more_and_why_before_it_trains(store, trained):
    before = {path: path.read_bytes() for path in store.folder.rglob("*") if path.is_file()}
    design = planned()
    todo = missing(design, store)
    assert all(work.train for works in todo.values() for work in works)
    lines = Outlook.of(design, store, todo).lines()
    count = len(read(RESULTS, "small", "trials"))
    why = f"the training loop is of version {VERSION} now, theirs of 1"
    assert [line for line in lines if "count no more" in line] == [f"sealed, and count no more: {count} trials ({why})"]
    assert not trained
    assert before == {path: path.read_bytes() for path in store.folder.rglob("*") if path.is_file()}


def test_a_changed_setting_is_no_change_of_a_version(store):
    assert outdated(planned("training.learning_rate=0.001"), store) == []


@pytest.mark.parametrize("compacted", [True, False])
def test_a_target_that_is_raised_is_named_besides(store, monkeypatch, compacted):
    if not compacted:
        shutil.rmtree(store.folder / "compacted")
    design = planned()
    name = design.cells[0].target.name
    monkeypatch.setattr(type(design.cells[0].target.build(design.pool.image_shape)), "version", 3)
    lines = outdated(planned(), store)
    assert any(f"target {name} is of version 3 now, theirs of 1; the training loop" in line for line in lines)


@pytest.mark.long
def test_what_is_trained_anew_lies_beside_what_is_sealed_and_old_rows_are_still_read(store, trained):
    design = planned("factors.train_size=[20]", "factors.epochs=[1]", "replicates=1")
    works = [works for works in missing(design, store).values() if works[0].trial.role == STUDY]
    for work in works:
        assert not [sealed.failed for sealed in Runner(design, store).run(work) if sealed.failed]
    assert trained[0] == (0, 2), "no state of an earlier version is gone on from"
    assert main(["check", str(store.folder)]) == 0
    every = read(RESULTS, "small", "trials", all=True)
    private = every[every["epsilon"].notna()]
    assert set(private["noise_key"].fillna("of the seed")) == {"secret", "of the seed"}
    require_golden_values(GOLDEN)

"""A training that is done again has other weights: what worked on the earlier one is not mixed with the later one."""

import time

import pytest

from study.cli.main import main
from study.design.design_rows import design_rows
from study.design.work import missing_of
from study.run.pass_content import PassContent, Superseded
from study.run.runner import Runner
from study.store import compact, compacting, read, seals
from study.store.collecting import collect, garbage
from study.store.new_pass import Pass
from study.store.reading import rows_of_pass
from study.store.schema import PASS_TABLES, joined, to_parquet, to_table
from study.store.verifying import check
from tests.forging import WHOLE_TRIAL
from tests.small import small_spec

TRIAL = {**WHOLE_TRIAL, "trial_id": "t1", "trajectory_id": "j1", "study": "small", "role": "study"}
ROW = {"trial_id": "t1", "trajectory_id": "j1", "role": "study"}
DESIGN = [ROW | {"kind": "trial", "id": "t1", "label": "trial"}] + [
    ROW | {"kind": "attack", "id": name, "label": name} for name in ("first", "added")
]
TRAINING = "t1-training"
PRIVATE = "{name: dp_sgd, sigma: 2.0, clip: 1.0, delta: 1e-5}"
LEAN = ("factors.train_size=[40]", "factors.epochs=[1]", "replicates=1", "quality.measures=[kid]", "split.panel=60",
        "controls={blind: false, nulls: 0, copycat: false, member_only: false}", "keep_targets=none")  # fmt: skip


def seal(store, attack, auc, train=False, training=None):
    """A pass of one attack; its nonce, or None where it was not sealed."""
    current = Pass(store)
    if train:
        current.add("trials", [TRIAL | {"sigma": auc}])
    current.add("attacks", [{"trial_id": "t1", "attack": attack, "attack_id": attack, "auc": auc}])
    about = {"trial_id": "t1", "attack_id": attack, "judged": True, "coin": True}
    rows = [{**about, "query": q, "unit": q, "member": q < 2, "score": auc + q / 9} for q in range(4)]
    current.add("scores", rows)
    return current.nonce if current.seal("t1", train, [attack], [], training=training) else None


def damage(store, name=TRAINING):
    (store.folder / "done" / f"{name}.json").write_text("{")


def aucs(store):
    return dict(read(store.root, store.study, "attacks", as_written=True)[["attack", "auc"]].itertuples(index=False))


def unbound(store, name, **changes):
    """A marker as the first of format 4 were, which named no training."""
    marker = {key: value for key, value in store.marker(name).items() if key != "training"}
    (store.folder / "done" / f"{name}.json").write_bytes(seals.to_json(marker | changes))


@pytest.fixture
def again(store):
    """A store whose training was done again, after an attack was added to the first; the nonces of both trainings."""
    store.publish("d1", small_spec().resolved, DESIGN, {})
    first = seal(store, "first", 0.1, train=True)
    assert seal(store, "added", 0.2)
    compact(store)
    damage(store)
    return store, first, seal(store, "first", 0.3, train=True)


def test_a_later_pass_names_the_training_whose_target_it_attacked(store):
    nonce = seal(store, "first", 0.1, train=True)
    assert seal(store, "added", 0.2)
    assert [marker["training"] for marker in store.markers().values()] == [nonce, nonce]


def test_what_attacked_an_earlier_training_is_not_read_with_a_later_one_and_is_missing_again(again):
    store, first, second = again
    assert second not in (None, first)
    assert aucs(store) == {"first": 0.3}
    assert set(read(store.root, store.study, "scores")["attack_id"]) == {"first"}
    assert store.done()["t1"].attacks == {"first"}
    assert compact(store) == 1
    assert aucs(store) == {"first": 0.3}


def test_a_compaction_that_has_rows_of_both_trainings_is_not_believed(again):
    store, *_ = again
    markers = store.marked().sound
    assert len(markers) == 2
    tables = []
    for table in PASS_TABLES:
        parts = [part for marker in markers.values() for part in rows_of_pass(store, marker, table)]
        tables.append((table, to_parquet(joined(parts) if parts else to_table(table, []))))
    compacting.write(store, store.listed(), markers, tables)
    assert aucs(store) == {"first": 0.3}


def test_check_names_it_gc_frees_it_and_the_same_work_on_the_new_training_takes_its_place(again, capsys):
    store, *_ = again
    (old,) = (name for name in store.passes() if name != TRAINING)
    found = check(store)
    assert (found.damages, found.outdated) == ([], [f"done/{old}.json"])
    assert main(["store", "check", store.uri]) == 0
    assert "is of a training that was done again since" in capsys.readouterr().out.replace("\n", " ")
    assert {item.file for item in garbage(store) if item.file.startswith("done/")} == {f"done/{old}.json"}
    assert seal(store, "added", 0.4)
    assert aucs(store) == {"first": 0.3, "added": 0.4}
    assert check(store).outdated == []
    collect(store, time.time_ns() + 10**12)
    assert garbage(store) == []
    assert aucs(store) == {"first": 0.3, "added": 0.4}


def test_gc_removes_an_outdated_pass_with_its_files(again):
    store, *_ = again
    compact(store)
    collect(store, time.time_ns() + 10**12)
    assert store.passes() == [TRAINING]
    assert len(list((store.folder / "scores").iterdir())) == 1


def test_whoever_does_a_lost_training_again_does_all_that_was_added_to_it(store):
    store.publish("d1", small_spec().resolved, DESIGN, {})
    seal(store, "first", 0.1, train=True)
    seal(store, "added", 0.2)
    damage(store)
    assert store.done() == {}
    (store.folder / "done" / f"{TRAINING}.json").unlink()
    assert store.done() == {}


def test_stores_that_name_no_training_are_read_as_before(store):
    store.publish("d1", small_spec().resolved, DESIGN, {})
    seal(store, "first", 0.1, train=True)
    seal(store, "added", 0.2)
    for name in store.passes():
        unbound(store, name)
    compact(store)
    assert aucs(store) == {"first": 0.1, "added": 0.2}
    assert store.done()["t1"].attacks == {"first", "added"}
    damage(store)
    seal(store, "first", 0.3, train=True)
    unbound(store, TRAINING)  # by that version, too
    assert aucs(store) == {"first": 0.3, "added": 0.2}


def test_what_names_no_training_and_is_older_than_the_training_is_of_an_earlier_one(store):
    store.publish("d1", small_spec().resolved, DESIGN, {})
    seal(store, "first", 0.1, train=True)
    seal(store, "added", 0.2)
    (late,) = (name for name in store.passes() if name != TRAINING)
    unbound(store, late)
    assert aucs(store) == {"first": 0.1, "added": 0.2}
    damage(store)
    seal(store, "first", 0.3, train=True)
    assert aucs(store) == {"first": 0.3}


def test_an_attempt_whose_training_was_done_again_meanwhile_seals_nothing(again, make_design):
    store, first, second = again
    assert seal(store, "added", 0.5, training=first) is None
    assert seal(store, "first", 0.5, train=True) is None
    assert seal(store, "first", 0.5, train=True, training=first) is None
    assert aucs(store) == {"first": 0.3}
    third = seal(store, "first", 0.6, train=True, training=second)
    assert third and store.training("t1") == third
    assert aucs(store) == {"first": 0.6}


@pytest.mark.parametrize("training", ["", "../x", 3, ["a"]])
def test_a_marker_of_an_odd_training_is_refused(store, training):
    seal(store, "first", 0.1, train=True)
    seal(store, "added", 0.2)
    for name in store.passes():
        data = seals.to_json(store.marker(name) | {"training": training})
        with pytest.raises(ValueError, match="is of an odd training"):
            seals.parse_marker(name, data)
    with pytest.raises(ValueError, match="is of another training than its own"):
        seals.parse_marker(TRAINING, seals.to_json(store.marker(TRAINING) | {"training": "0123abcd"}))


def run(design, store):
    store.publish(design.hash, design.spec.resolved, design_rows(design), {})
    for trials in design.trajectories.values():
        for sealed in Runner(design, store).run(missing_of(trials, store)):
            assert not sealed.failed
    return {marker["trial_id"]: marker for marker in store.markers().values() if marker["work"]["train"]}


@pytest.mark.long
def test_an_attack_on_a_private_target_that_was_not_kept_does_the_trial_anew_and_on_another_target_adds_to_it(
    make_design, store
):
    lean = (*LEAN, f"factors.defense=[none, {PRIVATE}]", "factors.epochs=[1, 2]")
    before = run(make_design(*lean, "attacks=[white_box]"), store)
    old = read(store.root, store.study, "scores", all=True).set_index(["trial_id", "attack_id", "query"])["score"]
    design = make_design(*lean, "attacks=[white_box, random]")
    works = [work for trials in design.trajectories.values() for work in missing_of(trials, store)]
    wanted = sorted((work.replaces, len(work.attacks), len(work.measures)) for work in works)
    assert wanted == [(False, 1, 0)] * 2 + [(True, 2, 2)] * 2
    after = run(design, store)
    assert not [work for trials in design.trajectories.values() for work in missing_of(trials, store)]
    new = read(store.root, store.study, "scores").set_index(["trial_id", "attack_id", "query"])["score"]
    for trial in design.trials:
        own = list(store.markers([trial.trial_id]).values())
        private = trial.cell.arm.guaranteed
        assert (before[trial.trial_id]["nonce"] == after[trial.trial_id]["nonce"]) is not private
        assert len(own) == (1 if private else 2)
        assert {marker["training"] for marker in own} == {after[trial.trial_id]["nonce"]}
        was = old.loc[trial.trial_id]
        assert new.loc[trial.trial_id].reindex(was.index).equals(was) is not private
    assert not check(store).damages


def test_an_attempt_that_attacked_what_was_done_again_meanwhile_is_said_to_be_superseded(make_design, store):
    lean = (*LEAN, "factors.defense=[none]")
    run(make_design(*lean, "attacks=[white_box]"), store)
    design = make_design(*lean, "attacks=[white_box, random]")
    (trial,) = design.trials
    (work,) = missing_of([trial], store)
    content = PassContent(store, work)
    damage(store, f"{trial.trial_id}-training")
    run(design, store)
    runner = Runner(design, store)
    attacked = runner.adversary.attack(trial, work.attacks, _model(design, trial), design.membership(trial))
    with pytest.raises(Superseded):
        content.seal(attacked)


def _model(design, trial):
    from mia_core.models import Snapshot
    from mia_core.streams import Streams

    target = trial.cell.target.build(design.pool.image_shape).eval()
    return Snapshot(target, Streams("samples", design.spec.seed, trial.replicate))

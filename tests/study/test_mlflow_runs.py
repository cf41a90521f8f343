"""Whose runs are whose in MLflow, what a run says, and that nothing waits for it."""
# ruff: noqa: F811  fixtures of another module

import json
import os
import shutil
import threading
import time
from types import SimpleNamespace

import pytest
from mlflow.tracking import MlflowClient

from mia_core.errors import Refused
from study.design.work import missing
from study.run.search import swept
from study.run.session import events as events_of
from study.store import Store, read
from study.store.seals import SWEPT
from study.tracking import aside, pictures, tracker
from study.tracking.aside import TrackerAside
from study.tracking.ownership import tags_of
from study.tracking.run_content import Begun, run_content
from study.tracking.tracker import Tracker
from tests.small import database, small_spec
from tests.study.test_tracker import (  # noqa: F401  its fixtures are these tests' too
    CODE,
    TRIALS,
    design,
    main,
    place,
    publish,
    rows_of,
    run,
    runs,
    said,
    sealed,
    store,
    track,
)

pytestmark = pytest.mark.usefixtures("plain_pictures")


def experiment(client):
    return client.get_experiment_by_name("small").experiment_id


def every(client):
    """All active runs, whoever made them."""
    return {run.info.run_id: run for run in client.search_runs([experiment(client)], max_results=1000)}


def strip(client, own, *keys):
    """Take tags from runs, as an earlier version has not made them."""
    for one in own:
        for key in keys:
            client.delete_tag(one.info.run_id, key)


FOREIGN = {
    "a trial without an id": {"kind": "trial"},
    "a study": {"kind": "study", "mlflow.runName": "study small"},
    "a study elsewhere": {"kind": "study", "results": "/elsewhere/small", "store": "0123456789abcdef"},
    "a trial of ours by its id alone": {"kind": "trial", "trial_id": "OURS", "passes": "done"},
    "a trial of another store": {"kind": "trial", "trial_id": "OURS", "store": "0123456789abcdef", "passes": "done"},
    "anything": {},
}


@pytest.mark.long
def test_runs_of_others_in_the_same_experiment_are_neither_deleted_nor_changed_nor_taken_for_ours(place, store, track):
    assert track() == 0
    told = said(place)
    client = MlflowClient(database(place))
    ours = next(trial_id for trial_id in told if trial_id)
    before = {}
    odd = {"a trial of this store, without an id": {"kind": "trial", **tags_of(store)}}
    for name, tags in (FOREIGN | odd).items():
        tags = {**tags, "mlflow.runName": name, **({"trial_id": ours} if "trial_id" in tags else {})}
        made = client.create_run(experiment(client), tags=tags)
        before[made.info.run_id] = client.get_run(made.info.run_id).to_dictionary()
    for again in ((), ("--include-records",)):
        assert track(*again) == 0
    after = every(client)
    assert {run_id: after[run_id].to_dictionary() for run_id in before} == before
    assert len(after) == len(before) + TRIALS + 1
    parent = next(one for one in after.values() if one.data.tags.get("results") == store.uri and
                  one.data.tags["kind"] == "study")  # fmt: skip
    assert parent.data.tags["spec"] == told[None]["tags"]["spec"]


@pytest.mark.long
def test_runs_of_an_earlier_version_are_taken_over_by_the_store_that_their_studys_run_names(
    place, store, track, capsys
):
    assert track() == 0
    client = MlflowClient(database(place))
    before = every(client)
    strip(client, before.values(), "store")
    strip(client, [one for one in before.values() if one.data.tags["kind"] == "trial"], "results")
    lost = client.create_run(experiment(client), tags={"kind": "trial", "trial_id": "0" * 16,
                                                      "mlflow.parentRunId": next(iter(before))})  # fmt: skip
    sealed_one = next(one for one in before.values() if one.data.tags["kind"] == "trial")
    client.delete_run(sealed_one.info.run_id)
    tags = {"kind": "trial", "trial_id": sealed_one.data.tags["trial_id"], "mlflow.parentRunId": lost.info.run_id}
    foreign = client.create_run(experiment(client), tags=tags)
    capsys.readouterr()
    assert track() == 0
    assert f"{TRIALS} runs in MLflow are taken over for {store.uri}: of an earlier version" in capsys.readouterr().err
    after = every(client)
    kept = before.keys() - {sealed_one.info.run_id}
    (new,) = after.keys() - kept - {lost.info.run_id, foreign.info.run_id}
    assert all(after[run_id].data.tags["store"] == store.id for run_id in (*kept, new))
    assert "store" not in after[lost.info.run_id].data.tags, "no trial of this store"
    assert "store" not in after[foreign.info.run_id].data.tags, "a trial of ours, but under a run of nobody"
    assert track() == 0
    assert "taken over" not in capsys.readouterr().err


@pytest.mark.long
def test_a_copy_of_a_store_makes_runs_of_its_own_and_a_store_that_was_moved_keeps_its_runs(place, store, track):
    assert track() == 0
    first = set(every(MlflowClient(database(place))))
    copied = shutil.copytree(store.folder, place / "copies" / "small")
    assert main([str(copied), "--tracking", database(place)]) == 0
    both = every(MlflowClient(database(place)))
    assert len(both) == 2 * (TRIALS + 1) and first < set(both)
    (place / "elsewhere").mkdir()
    moved = store.folder.rename(place / "elsewhere" / "small")
    assert main([str(moved), "--tracking", database(place)]) == 0
    after = every(MlflowClient(database(place)))
    assert set(after) == set(both)
    assert {one.data.tags["results"] for one in after.values()} == {str(moved), str(copied)}
    shutil.rmtree(copied)  # its runs stay: they might be of a copy that is on another machine
    assert main([str(moved), "--tracking", database(place)]) == 0
    assert set(every(MlflowClient(database(place)))) == set(both)


@pytest.mark.long
def test_a_store_below_a_folder_whose_name_is_no_utf_8_keeps_its_runs(place, store, track, capsys):
    odd = place / os.fsdecode(b"odd-\xff")
    odd.mkdir()
    moved = store.folder.rename(odd / "small")
    for _ in range(2):
        assert main([str(moved), "--tracking", database(place)]) == 0
        runs = every(MlflowClient(database(place)))
        assert len(runs) == TRIALS + 1
        assert {one.data.tags["results"] for one in runs.values()} == {rf"{place}/odd-\xff/small"}


def test_the_id_of_a_store_outlives_its_sweeps(design, tmp_path):
    own = Store(tmp_path, "small")
    publish(design, own)
    first = own.id
    publish(design, own)
    assert own.id == first
    other = Store(tmp_path / "other", "small")
    publish(design, other)
    assert other.id != first


@pytest.mark.long
def test_artifacts_that_cannot_be_kept_cost_the_artifacts_alone_and_come_later(
    place, store, track, monkeypatch, capsys
):
    def refuse(*arguments):
        raise PermissionError(13, "Permission denied", "/mlruns")

    with monkeypatch.context() as patch:
        patch.setattr(tracker, "_put", refuse)
        assert track() == 1
        told = capsys.readouterr().err
        assert told.count("MLflow cannot keep artifacts") == 1 and "/mlruns" in told
        bare = said(place)
        assert track() == 1, "still without"
    assert all(one["status"] == "FINISHED" and not one["files"] for one in bare.values())
    assert track() == 0
    whole = said(place)
    assert all("config.json" in one["files"] for one in whole.values())
    for trial_id in bare:
        for what in ("params", "metrics", "data", "times"):
            assert bare[trial_id][what] == whole[trial_id][what]


def test_loss_curves_are_metrics_by_epoch_within_the_time_of_the_training(place, store, track):
    assert track() == 0
    told = said(place)
    history = read(store.root, "small", "history")
    trials = read(store.root, "small", "trials")
    curves = 0
    for row in trials.to_dict("records"):
        own = history[history["trajectory_id"] == row["trajectory_id"]]
        start, end = told[row["trial_id"]]["times"]
        for column in ("loss_generator", "loss_discriminator", "d_real", "d_fake"):
            points = told[row["trial_id"]]["metrics"].get(f"history/{column}", [])
            kept = own.dropna(subset=[column]) if len(own) else own
            assert [(value, step) for value, _, step in points] == list(zip(kept.get(column, []), kept["epoch"],
                                                                           strict=True))  # fmt: skip
            assert all(start <= at <= end for _, at, _ in points)
            assert sorted(at for _, at, _ in points) == [at for _, at, _ in points]
            curves += len(points)
    assert curves == 4 * 2 * 2, "four curves of two trained trials of two epochs"


def test_a_higher_level_has_the_curve_from_the_beginning_and_long_curves_are_thinned(
    make_design, tmp_path, monkeypatch
):
    own, few = Store(tmp_path, "small"), ("factors.train_size=[40]", "factors.defense=[none]", "replicates=1",
            "attacks=[]", "quality.measures=[]", "controls={blind: false, nulls: 0, copycat: false}")  # fmt: skip
    design = make_design(*few, "factors.epochs=[2, 5]")
    publish(design, own)
    run(design, own)
    low, high = (run_content(own, trial.trial_id, False) for trial in design.trials)
    steps = lambda content: [step for key, _, _, step in content.curves if key == "history/loss_generator"]  # noqa: E731
    assert (steps(low), steps(high)) == ([1, 2], [1, 2, 3, 4, 5])
    monkeypatch.setattr("study.tracking.run_content.CURVE_POINTS", 3)
    assert steps(run_content(own, design.trials[1].trial_id, False)) == [1, 3, 5]


def test_every_setting_of_target_training_and_arm_is_a_parameter(place, track):
    assert track() == 0
    private = next(one["params"] for one in said(place).values() if one["params"].get("defense") == "dp_sgd")
    assert private.items() >= {
        "setting/target.width": "4", "setting/target.latent": "8", "setting/training.batch_size": "16",
        "setting/training.learning_rate": "0.0002", "setting/dp_sgd.sigma": "1.0", "setting/dp_sgd.delta": "1e-05",
        "train_size": "60", "epochs": "2",
    }.items()  # fmt: skip


def test_the_studys_run_has_headline_metrics(place, store, track):
    assert track() == 0
    metrics = {key: points[-1][0] for key, points in said(place)[None]["metrics"].items()}
    wide = read(store.root, "small", "wide")
    wide = wide[wide["role"] == "study"]
    assert metrics["headline/trials_wanted"] == metrics["headline/trials_sealed"] == TRIALS
    for label in ("white_box", "euclidean"):
        auc = wide[wide["attack"] == label]["auc"]  # one replicate, so that each trial is a cell
        assert metrics[f"headline/attack/{label}/auc_highest"] == auc.max()
        assert metrics[f"headline/attack/{label}/auc_lowest"] == auc.min()
    assert metrics["headline/quality/kid_domain_unseen_highest"] == wide["kid_domain_unseen"].max()


@pytest.mark.long
def test_runs_appear_when_training_begins_and_say_nothing_that_their_result_denies(design, place):
    own = Store(place / "fresh", "small")
    publish(design, own)
    log = Tracker(own, database(place), pytest.fail)
    log.start()
    begun = [Begun.of(design, trial) for trial in design.every]
    log.begin(begun)
    found = runs(database(place))
    assert found.keys() == {None, *(trial.trial_id for trial in design.every)}
    assert {one.info.status for one in found.values()} == {"RUNNING"}
    parent = found.pop(None).info.run_id
    assert {one.data.tags["mlflow.parentRunId"] for one in found.values()} == {parent}
    _, second, third = begun
    run(design, own, lambda trial_id: log.log(trial_id) if trial_id != third.trial_id else None)
    log.end([second.trial_id])  # it is sealed, so that this says nothing
    log.close(complete=False)
    after = runs(database(place))
    statuses = [after[one.trial_id].info.status for one in begun]
    assert statuses == ["FINISHED", "FINISHED", "KILLED"]
    for one in begun[:2]:
        assert after[one.trial_id].data.params.items() >= one.params.items() and len(one.params) > 15
        assert after[one.trial_id].info.run_name == one.name
        assert after[one.trial_id].info.start_time == found[one.trial_id].info.start_time
    log.begin([third])
    assert runs(database(place))[third.trial_id].info.status == "RUNNING"
    log.end([third.trial_id])
    assert runs(database(place))[third.trial_id].info.status == "FAILED"
    assert log.behind is False
    log.reconcile()
    assert runs(database(place))[third.trial_id].info.status == "FINISHED"


@pytest.mark.long
def test_an_experiment_has_the_name_that_is_set_and_track_remembers_it(design, place, store):
    spec = small_spec("experiment=Leakage of ours")
    pointer = {**CODE, SWEPT: swept(spec)}
    store.publish(design.hash, design.spec.resolved, store.design().to_pylist(), pointer)
    assert "experiment" not in spec.resolved
    assert main([str(store.folder), "--tracking", database(place)]) == 0
    assert len(runs(database(place), "Leakage of ours")) == TRIALS + 1
    assert main([str(store.folder), "--tracking", database(place), "--experiment", "other"]) == 0
    assert len(runs(database(place), "other")) == TRIALS + 1


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("mlruns", "MLflow keeps runs in a database or on a server, and not in a folder"),
        ("file:///tmp/mlruns", "not in a folder"),
        ("htp://host:5000", "htp:// is nothing that MLflow keeps runs in; did you mean 'http'?"),
        ("sqlite://mlflow.db", "begins with sqlite:/// and then its path"),
    ],
)
def test_a_place_that_mlflow_refuses_is_refused_at_the_plan_and_by_track(store, capsys, uri, message):
    with pytest.raises(Refused, match="tracking: "):
        small_spec(f"tracking={uri}")
    assert main([str(store.folder), "--tracking", uri]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "uri", ["https://host/x", "postgresql+psycopg2://u:p@host/db", "databricks", "mysql://host/db"]
)
def test_a_place_that_mlflow_takes_is_left_to_it(uri):
    assert small_spec(f"tracking={uri}").tracking == uri


@pytest.mark.pictures
def test_the_worker_that_attacks_draws_the_picture_and_who_logs_draws_none(make_design, tmp_path, monkeypatch):
    few = ("factors.train_size=[60]", "factors.epochs=[1]", "factors.defense=[none]", "replicates=1",
           "attacks=[white_box]", "quality.measures=[]",
           "controls={blind: false, nulls: 0, copycat: false}")  # fmt: skip
    (tmp_path / "drawn").mkdir()
    tracked, bare = make_design(*few, f"tracking={database(tmp_path)}"), make_design(*few)
    own, other = Store(tmp_path / "drawn", "small"), Store(tmp_path / "bare", "small")
    for one, at in ((tracked, own), (bare, other)):
        publish(one, at)
        run(one, at)
    (trial,) = tracked.trials
    here = run_content(other, trial.trial_id, False).files["attacks/roc.png"]
    monkeypatch.setattr(pictures, "roc_picture", lambda *arguments: pytest.fail("drawn where it is logged"))
    assert run_content(own, trial.trial_id, False).files["attacks/roc.png"] == here
    assert not (other.folder / "roc").exists(), "a study without MLflow draws nothing"
    assert mia_check(own) == 0


def mia_check(own):
    from tests.commands import mia_study

    return mia_study("store")(["check", str(own.folder)])


class Slow:
    """A tracker that takes its time, and gives up after `until` as `Tracker` does."""

    behind = False

    def __init__(self, seconds):
        self.seconds, self.until, self.done = seconds, None, []

    def __getattr__(self, name):
        def call(*arguments, **named):
            until = time.monotonic() + self.seconds
            while time.monotonic() < until and (self.until is None or time.monotonic() < self.until):
                time.sleep(0.01)
            self.done.append((name, *arguments, *named.values()))

        return call


def test_neither_a_trial_nor_the_exit_waits_for_mlflow(monkeypatch):
    monkeypatch.setattr(aside, "END_SECONDS", 0.3)
    slow, started = Slow(3.0), time.monotonic()
    with TrackerAside(slow, pytest.fail) as beside:
        beside.begin(lambda: ["a trial"])
        beside.log("a trial")
        beside.end(["another"])
        assert time.monotonic() - started < 0.2
        beside.catch_up()
        beside.finish(complete=True)
    assert time.monotonic() - started < 1
    assert [name for name, *_ in slow.done] == ["start", "begin", "log", "end", "reconcile", "close"]
    assert not [thread for thread in threading.enumerate() if thread.name == "mlflow"]


def test_a_sweep_tells_mlflow_of_trajectories_that_begin_and_fail_and_of_what_is_sealed(design, tmp_path):
    told = []
    fake = SimpleNamespace(
        begin=lambda make: told.append(("begin", [one.trial_id for one in make()])),
        end=lambda trial_ids: told.append(("end", list(trial_ids))),
    )
    todo = missing(design, Store(tmp_path, "small"))
    events = events_of(design, todo, told.append, fake)
    name = next(iter(todo))
    trained = [work.trial.trial_id for work in todo[name] if work.train]
    events.began(name)
    events.sealed("a trial")
    events.failed(name)
    assert told == [("begin", trained), "a trial", ("end", trained)] and trained


def test_mlflow_is_not_asked_before_the_first_trial_is_under_way():
    quick = Slow(0)
    with TrackerAside(quick, pytest.fail) as beside:
        time.sleep(0.05)
        assert quick.done == []
        beside.finish(complete=True)
    assert [name for name, *_ in quick.done] == ["start", "close"]


def test_a_bug_beside_a_sweep_is_raised_where_the_sweep_ends_and_what_is_damaged_is_named():
    class Broken(Slow):
        def log(self, trial_id):
            raise {"bug": ZeroDivisionError, "refused": Refused}[trial_id](trial_id)

    said_so = []
    with TrackerAside(Broken(0), said_so.append) as beside:
        beside.log("refused")
        beside.finish(complete=True)
        assert beside.behind and said_so == ["not in MLflow: refused"]
    with pytest.raises(ZeroDivisionError), TrackerAside(Broken(0), pytest.fail) as beside:
        beside.log("bug")
        beside.finish(complete=True)


def test_a_sweep_that_ends_by_an_error_says_so_to_mlflow_and_leaves_no_thread():
    quick = Slow(0)
    with pytest.raises(Refused), TrackerAside(quick, pytest.fail) as beside:
        beside.log("a trial")
        raise Refused("enough")
    assert quick.done[-1] == ("close", False) and not beside._thread.is_alive()


def test_tracking_by_a_moment_logs_what_it_can_and_says_that_some_is_lacking(place, store):
    log = Tracker(store, database(place), pytest.fail)
    log.until = time.monotonic()
    log.start()
    assert log.behind
    log.until = None
    log.close(complete=True)
    assert runs(database(place)).keys() == {None}
    assert main([str(store.folder), "--tracking", database(place)]) == 0
    assert len(runs(database(place))) == TRIALS + 1


def test_a_run_is_found_by_its_store_whatever_the_runs_are_named(place, store, track):
    assert track() == 0
    before = rows_of(place / "mlflow.db")["runs"]
    tags = tags_of(store)
    assert json.loads((store.folder / "study.json").read_text())["id"] == tags["store"] and tags["results"] == store.uri
    client = MlflowClient(database(place))
    for one in every(client).values():
        client.set_tag(one.info.run_id, "mlflow.runName", "renamed")
    assert track() == 0
    assert len(rows_of(place / "mlflow.db")["runs"]) == len(before)

import io
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from PIL import Image

from mia_core.data import load_pool
from study.design.derivations import Derivations
from study.design.design_rows import design_rows
from study.design.study_design import Design
from study.design.work import missing
from study.run.deriving import derive
from study.run.runner import Runner
from study.store import Store, read
from study.tracking.addresses import public, without_secrets
from study.tracking.ownership import tags_of
from study.tracking.tracker import Tracker
from tests.commands import mia_study
from tests.mlflow_ui import mlflow_server
from tests.shared import once
from tests.small import add_database, database, small_spec

report = mia_study("report")
main = mia_study("track")
pytestmark = pytest.mark.usefixtures("plain_pictures")

CODE = {"git_commit": "abc", "lock": "def"}
QUICK = (
    "factors.train_size=[60]",
    "factors.epochs=[2]",
    "factors.defense=[none, {name: dp_sgd, sigma: 1.0, clip: 1.0, delta: 1.0e-5}]",
    "split.panel=60",
    "replicates=1",
    "attacks=[white_box, {name: euclidean, generated: 32}]",
    "quality.measures=[kid]",
    "controls={nulls: 0, copycat: false, permutations: 99}",
)
TRIALS = 2 + 1


def run(design, store, each=lambda trial_id: None):
    for works in missing(design, store).values():
        for sealed in Runner(design, store, code=CODE).run(works):
            assert not sealed.failed
            each(sealed.trial.trial_id)


def publish(design, store):
    rows = design_rows(design, Derivations(design, store.markers()).found)
    store.publish(design.hash, design.spec.resolved, rows, CODE)


@pytest.fixture(scope="module")
def design():
    spec = small_spec(*QUICK)
    return Design(spec, load_pool(spec.data))


@pytest.fixture(scope="module")
def sealed(design):
    """A folder with the sealed store of a small study, and an MLflow database with its tables and nothing in them."""

    def make(folder):
        store = Store(folder / "results", "small")
        publish(design, store)
        run(design, store)
        add_database(folder)

    return once("tracked", make)[0]


@pytest.fixture
def place(sealed, tmp_path, monkeypatch):
    """A copy of it, to work in."""
    folder = shutil.copytree(sealed, tmp_path / "place")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def store(place):
    return Store(place / "results", "small")


@pytest.fixture
def track(place, store):
    """`mia-study track` into the copy's own database."""
    return lambda *options, into=place: main([str(store.folder), "--tracking", database(into), *options])


def runs(uri, study="small"):
    """Active runs of a study by trial, the parent's under None."""
    client = MlflowClient(uri)
    found = client.search_runs([client.get_experiment_by_name(study).experiment_id], max_results=1000)
    assert len({run.data.tags.get("trial_id") for run in found}) == len(found), "a trial is there twice"
    return {run.data.tags.get("trial_id"): run for run in found}


def said(folder):
    """All that runs say, by trial: params, every point of every metric, tags, data, times, artifacts."""
    client, found = MlflowClient(database(folder)), runs(database(folder))
    parents = {run.info.run_id: "the parent" for run in found.values() if run.data.tags["kind"] == "study"}
    told = {}
    for trial_id, run in found.items():
        artifacts = Path(run.info.artifact_uri.removeprefix("file://"))
        tags = dict(run.data.tags)
        told[trial_id] = {
            "params": run.data.params,
            "metrics": {
                key: [
                    (point.value, point.timestamp, point.step)
                    for point in client.get_metric_history(run.info.run_id, key)
                ]
                for key in run.data.metrics
            },
            "tags": {**tags, "mlflow.parentRunId": parents.get(tags.get("mlflow.parentRunId"))},
            "data": [item.dataset.digest for item in run.inputs.dataset_inputs],
            "status": run.info.status,
            "times": (run.info.start_time, run.info.end_time),
            "files": {str(path.relative_to(artifacts)): path.read_bytes() for path in artifacts.rglob("*.*")},
        }
    return told


@pytest.mark.slow
def test_database_and_artifacts_are_for_their_owner_alone_though_mlflow_makes_them_for_all(place, store):
    (place / "mlflow.db").unlink()
    before = os.umask(0o022)
    try:
        Tracker(store, database(place), print, include_records=True).reconcile()
    finally:
        os.umask(before)
    assert [oct((place / name).stat().st_mode & 0o777) for name in ("mlflow.db", ".mlflow.db.lock", "mlartifacts")] == [
        "0o600", "0o600", "0o700",
    ]  # fmt: skip
    files = [path for path in (place / "mlartifacts").rglob("*") if path.is_file()]
    assert {oct(path.stat().st_mode & 0o777) for path in files} == {"0o600"}
    assert {path.suffix for path in files} >= {".json", ".png"}
    assert len(runs(database(place))) == TRIALS + 1


def empty(place, sealed):
    """A folder with a database without runs."""
    (place / "other").mkdir()
    shutil.copy(sealed / "mlflow.db", place / "other")
    return place / "other"


def rows_of(database):
    with sqlite3.connect(database) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: sorted(map(repr, connection.execute(f'SELECT * FROM "{name}"'))) for name in tables}


def test_everything_comes_from_the_store_alone(store, place, track):
    shutil.rmtree(store.folder / "targets")
    shutil.rmtree(store.folder / "features")
    assert track() == 0
    told = said(place)
    wide = read(store.folder.parent, "small", "wide")
    assert told.keys() == {None, *wide["trial_id"]}
    assert all(one["status"] == "FINISHED" for one in told.values())
    assert told[None]["tags"].items() >= {"spec": store.pointer()["spec"], **CODE}.items()
    assert len(told[None]["data"]) == 1
    bounds = 0
    for row in wide.to_dict("records"):
        one = told[row["trial_id"]]
        assert one["tags"]["mlflow.parentRunId"] == "the parent"
        assert one["tags"].items() >= CODE.items()
        assert one["params"]["defense"] == row["defense"]
        covers = "; it covers the trained networks, and nothing of history/*, attack/* and quality/*"
        assert one["tags"]["guarantee"].endswith(covers if row["epsilon"] == row["epsilon"] else "none")
        assert float(one["params"].get("setting/clip", 0)) == (1 if row["defense"] == "dp_sgd" else 0)
        points = one["metrics"][f"attack/{row['attack']}/auc"]
        assert points == [(row["auc"], int(row["finished_at"].timestamp() * 1000), row["epochs"])]
        for bound in ("epsilon_low", "epsilon_low_gaussian"):
            if row[bound] == row[bound]:
                assert one["metrics"][f"attack/{row['attack']}/{bound}"][0][0] == row[bound]
                bounds += 1
    assert bounds > 0


def test_tracking_twice_changes_nothing(place, track):
    assert track() == 0
    before, told = rows_of(place / "mlflow.db"), said(place)
    assert track() == 0
    assert rows_of(place / "mlflow.db") == before
    assert said(place) == told


@pytest.mark.slow
def test_the_studys_own_run_leads_to_the_report_once_it_is_written(store, place, track):
    assert track() == 0
    own = said(place)[None]
    assert "report.html" not in own["files"]
    assert "**The answer** is not here yet: `mia-study report" in own["tags"]["mlflow.note.content"]
    assert "**No epsilon covers a metric**" in own["tags"]["mlflow.note.content"]
    assert report([store.uri]) == 0 and report([store.uri, "--include-records"]) == 0
    assert track() == 0
    own = said(place)[None]
    assert own["files"].keys() == {"config.json", "report.html"}
    assert own["files"]["report.html"] == (store.reports / "report.html").read_bytes()
    assert "is `report.html` among the artifacts of this run" in own["tags"]["mlflow.note.content"]


@pytest.mark.slow
@pytest.mark.pictures
def test_a_deleted_database_is_restored_as_it_was(place, sealed, track):
    assert track() == 0
    other = empty(place, sealed)
    assert track(into=other) == 0
    assert said(other) == said(place)


@pytest.mark.long
@pytest.mark.pictures
def test_runs_logged_by_a_sweep_are_those_that_track_would_make(design, place, sealed):
    store = Store(place / "fresh", "small")
    publish(design, store)
    tracker = Tracker(store, database(place), pytest.fail)
    tracker.start()
    assert runs(database(place))[None].info.status == "RUNNING"
    run(design, store, tracker.log)
    tracker.reconcile()
    tracker.close(complete=True)
    swept = said(place)
    assert main([str(store.folder), "--tracking", database(place)]) == 0
    assert said(place) == swept
    other = empty(place, sealed)
    assert main([str(store.folder), "--tracking", database(other)]) == 0
    tracked = said(other)
    swept[None]["times"] = tracked[None]["times"]  # a sweep starts before its first trial ends
    assert tracked == swept


@pytest.mark.long
def test_what_a_killed_driver_left_half_done_is_completed(place, store, track):
    assert track() == 0
    told = said(place)
    client, found = MlflowClient(database(place)), runs(database(place))
    parent, bare, open_ended, gone, *_ = sorted(found, key=lambda key: key or "")
    client.update_run(found[parent].info.run_id, status="RUNNING")
    client.update_run(found[open_ended].info.run_id, status="RUNNING")
    client.delete_tag(found[open_ended].info.run_id, "passes")
    for trial_id in (bare, gone):
        client.delete_run(found[trial_id].info.run_id)
    tags = {"kind": "trial", "trial_id": bare, "mlflow.runName": found[bare].info.run_name, **tags_of(store)}
    start = found[bare].info.start_time
    client.create_run(found[bare].info.experiment_id, start_time=start, tags=tags)  # and then it was killed
    assert track() == 0
    assert said(place) == told


@pytest.mark.slow
def test_what_somebody_deleted_is_made_again(place, track):
    assert track() == 0
    told = said(place)
    client, found = MlflowClient(database(place)), runs(database(place))
    client.delete_run(found[None].info.run_id)
    assert track() == 0
    assert said(place) == told
    client.delete_experiment(found[None].info.experiment_id)
    assert track() == 0
    assert said(place) == told


@pytest.mark.slow
def test_a_run_made_twice_is_there_once(place, store, track):
    assert track() == 0
    told = said(place)
    client = MlflowClient(database(place))
    one = next(run for trial_id, run in runs(database(place)).items() if trial_id)
    tags = {"kind": "trial", "trial_id": one.data.tags["trial_id"], **tags_of(store)}
    client.create_run(one.info.experiment_id, tags=tags)
    assert track() == 0
    assert said(place) == told


@pytest.mark.slow
@pytest.mark.pictures
def test_samples_are_artifacts_only_where_allowed_and_roc_pictures_always(store, place, track):
    assert track() == 0
    told = said(place)
    assert {name for one in told.values() for name in one["files"]} == {"config.json", "attacks/roc.png"}
    assert all(one["files"].keys() == {"config.json", "attacks/roc.png"} for key, one in told.items() if key)
    for one in (one for key, one in told.items() if key):
        picture = one["files"]["attacks/roc.png"]
        assert Image.open(io.BytesIO(picture)).size[0] > 300
        assert len(picture) < 50_000
    assert track("--include-records") == 0
    grids = {path.stem.partition("-")[0]: path.read_bytes() for path in (store.folder / "samples").glob("*.png")}
    assert grids
    for key, one in said(place).items():
        assert one["files"].get("samples/grid.png") == grids.get(key)
    before = rows_of(place / "mlflow.db")
    assert track() == 0
    assert rows_of(place / "mlflow.db") == before, "what was allowed once stays"


def test_an_incomplete_study_is_tracked_as_far_as_it_is(store, place, track):
    lost = sorted((store.folder / "done").iterdir())[0]
    lost.unlink()
    assert track() == 0
    assert runs(database(place))[None].info.status == "FAILED"
    assert len(runs(database(place))) == TRIALS


def test_a_damaged_trial_is_named_and_the_others_are_tracked(store, place, capsys, track):
    damaged = sorted((store.folder / "attacks").iterdir())[0]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert track() == 1
    assert f"{damaged.name}: its bytes changed" in capsys.readouterr().err
    assert len(runs(database(place))) == TRIALS


@pytest.mark.parametrize("folder", ["results/absent", "absent/small"])
def test_no_study_is_refused_in_one_line(place, capsys, folder):
    assert main([folder]) == 2
    assert re.fullmatch(r"refused: .*no study here.*\n", capsys.readouterr().err)
    assert not (place / folder).exists()


def test_a_study_at_work_is_not_tracked_beside_it(store, capsys, track):
    with store.lock():
        assert track() == 2
    assert "another sweep or mia-study track is working on" in capsys.readouterr().err


@pytest.fixture
def silent():
    """A port that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.mark.slow
def test_a_server_that_never_answers_costs_a_bounded_delay_once(store, silent):
    warnings, started = [], time.monotonic()
    tracker = Tracker(store, f"http://127.0.0.1:{silent}", warnings.append)
    tracker.start()
    first = time.monotonic() - started
    assert first < 20
    for trial_id in read(store.folder.parent, "small", "trials")["trial_id"]:
        tracker.log(trial_id)
    assert time.monotonic() - started < first + 1
    assert len(warnings) == 1
    assert tracker.behind


def test_a_server_that_is_not_there_costs_seconds_and_track_says_so(store, capsys):
    started = time.monotonic()
    assert main([str(store.folder), "--tracking", "http://someone:hidden@127.0.0.1:9"]) == 1
    assert time.monotonic() - started < 10
    printed = capsys.readouterr()
    assert printed.err.count("MLflow is not reachable") == 1
    assert "hidden" not in printed.err + printed.out


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://user:pass@host:5000/a", "http://host:5000/a"),
        ("postgresql://user:p%40ss@host/db?sslpassword=x", "postgresql://host/db"),
        ("postgresql://user:p/a?s@s@host/db", "postgresql://host/db"),
        ("sqlite:////home/me@there/mlflow.db", "sqlite:////home/me@there/mlflow.db"),
    ],
)
def test_a_tracking_uri_is_shown_without_its_secrets(uri, shown):
    assert public(uri) == shown
    assert without_secrets(f"no answer from {uri}", uri) != f"no answer from {uri}" or uri == shown


def test_a_message_shows_no_password_in_any_spelling():
    uri = "postgresql://user:p%40ss@host/db"
    told = without_secrets(f"{uri}: password 'p@ss' (p%40ss) is wrong for host", uri)
    assert "p@ss" not in told
    assert "p%40ss" not in told
    assert "is wrong for host" in told


RACE = """
import sys
from multiprocessing import get_context

import mlflow.tracking

from study.cli.main import main
from study.tracking import filling, pictures

fork = get_context("fork")  # all import first, and start at once
track = lambda name: sys.exit(main(["track", f"results/{name}"]))
processes = [fork.Process(target=track, args=[name]) for name in sys.argv[1:]]
for process in processes:
    process.start()
for process in processes:
    process.join()
print(*(process.exitcode for process in processes))
"""


@pytest.mark.slow
def test_eight_processes_on_one_fresh_database_leave_each_trial_once(store, place):
    (place / "mlflow.db").unlink()
    studies = ["small", "second", "third", "fourth"]
    for name in studies[1:]:
        shutil.copytree(store.folder, store.folder.with_name(name))
    done = subprocess.run([sys.executable, "-c", RACE, *studies * 2], capture_output=True, text=True, check=False)
    codes = [int(word) for word in done.stdout.splitlines()[-1].split()]
    for name, both in zip(studies, zip(codes[:4], codes[4:], strict=True), strict=True):
        assert sorted(both) in ([0, 0], [0, 2]), done.stderr
        assert len(runs(database(place), name)) == TRIALS + 1
    assert done.stderr.count("is working on") == codes.count(2)


@pytest.fixture
def server(place):
    """Starts `mlflow server` on a free port of this machine; the rest of it is killed at the end."""
    with mlflow_server(place) as started:
        yield started


@pytest.mark.slow
@pytest.mark.server
def test_a_server_killed_between_trials_and_started_again_has_every_metric_once(design, place, server):
    address, start = server
    secret = f"http://someone:hidden@{address}"
    store, warnings = Store(place / "fresh", "small"), []
    publish(design, store)
    running, logged = start(), []
    tracker = Tracker(store, secret, warnings.append)
    tracker.start()

    def log(trial_id):
        tracker.log(trial_id)
        logged.append(trial_id)
        if len(logged) == 2:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()

    run(design, store, log)
    assert len(warnings) == 1
    tracker.reconcile()
    assert tracker.behind
    assert len(warnings) == 1
    start()
    tracker.reconcile()
    tracker.close(complete=True)
    assert not tracker.behind
    client, found = MlflowClient(f"http://{address}"), runs(f"http://{address}")
    assert len(found) == TRIALS + 1
    assert all(run.info.status == "FINISHED" for run in found.values())
    for trial_id, run_ in found.items():
        for key in (key for key in run_.data.metrics if not key.startswith("history/")):
            assert len(client.get_metric_history(run_.info.run_id, key)) == 1
        names = {item.path for item in client.list_artifacts(run_.info.run_id)}
        assert names == ({"config.json", "attacks"} if trial_id else {"config.json"})
        assert any(key.endswith("/auc") for key in run_.data.metrics) or trial_id is None
    seen = repr(rows_of(place / "mlflow.db")) + "".join(warnings) + (place / "server.log").read_text()
    assert "hidden" not in seen


@pytest.mark.long
def test_a_run_that_lacks_derived_attacks_alone_gets_these_and_nothing_again(tmp_path, monkeypatch):
    spec = small_spec(*QUICK, "replicates=3", "factors.defense=[none]", "attacks=[white_box]")
    design, store = Design(spec, load_pool(spec.data)), Store(tmp_path / "results", "small")
    publish(design, store)
    run(design, store)
    add_database(tmp_path)
    asked = []
    monkeypatch.setattr(Tracker, "_log_params", lambda self, run_id, params: asked.append(run_id))
    log = Tracker(store, database(tmp_path), pytest.fail)
    log.reconcile()
    assert len(asked) >= len(design.trials)
    before = said(tmp_path)
    asked.clear()
    assert derive(design, store).trials
    publish(design, store)
    log.reconcile()
    assert not asked
    found = said(tmp_path)
    for trial in design.trials:
        added = found[trial.trial_id]["metrics"].keys() - before[trial.trial_id]["metrics"].keys()
        assert "attack/calibrated_white_box/auc" in added and all("calibrated" in key for key in added)
        assert found[trial.trial_id]["params"] == before[trial.trial_id]["params"]
    log.reconcile()
    assert said(tmp_path) == found

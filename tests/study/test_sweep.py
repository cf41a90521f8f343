import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from study.design.design_rows import design_rows
from study.design.work import missing
from study.machine import code_versions
from study.outcomes import COMPLETE, INCOMPLETE, REFUSED
from study.run import scheduling
from study.run.runner import Runner
from study.store import Store, read
from study.store.reading import trial_tables
from study.tracking import run_content, tracker
from tests.commands import MIA_STUDY, mia_study, run_here
from tests.small import SMALL, add_database, database, sweep

main = mia_study("sweep")
pytestmark = pytest.mark.usefixtures("plain_pictures")

TRIALS = 2 * 2 * 3 * 2
NULLS, CONTROLS = 4, 4 + 2 + 2
ROWS = {"trials": TRIALS + CONTROLS, "quality": 12 * TRIALS, "attacks": 3 * TRIALS + 3 * NULLS + 2 + 2,
        "history": TRIALS + NULLS}  # fmt: skip
NO_CONTROLS = ["--set", "controls.blind=false", "--set", "controls.nulls=0", "--set", "controls.copycat=false"]


def tree(folder):
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def below(path):
    return [path, *path.rglob("*")]


@pytest.fixture
def copy(swept, tmp_path):
    """The swept folder, to be changed; artifacts of its runs stay where they were."""
    return shutil.copytree(swept[0], tmp_path / "copy")


@pytest.fixture
def fresh(tmp_path):
    (tmp_path / "small.yaml").write_text(SMALL)
    return tmp_path


def test_a_sweep_leaves_a_complete_store_and_says_where_it_is(swept):
    folder, done = swept
    for table, count in ROWS.items():
        assert len(read(folder / "results", "small", table)) == count
    assert len(read(folder / "results", "small", "wide")) == ROWS["attacks"]
    assert not read(folder / "results", "small", "wide").isin([float("inf"), -float("inf")]).any(axis=None)
    assert f"complete: {TRIALS} trials, {CONTROLS} controls" in done.stdout
    assert re.search(r"control:  blind: (nothing found, at most 0\.|members are not told from)", done.stdout)
    assert "control:  copycat: works" in done.stdout
    assert f"parquet:  {folder}/results/small" in done.stdout
    assert "mlflow ui --backend-store-uri sqlite:///mlflow.db" in done.stdout
    assert "mia-study report" in done.stdout
    left = {path.name for path in (folder / "results" / "small").iterdir()}
    assert left == {*ROWS, "scores", "done", "samples", "roc", "targets", "resume", "features", "specs",
                    "design", "data", "compacted", "study.json", ".lock"}  # fmt: skip


def test_what_a_sweep_makes_is_for_its_owner_alone(swept):
    # The database was there before, of another's making; `test_tracker` makes one.
    made = [path for name in ("results", ".mlflow.db.lock", "mlartifacts") for path in below(swept[0] / name)]
    assert {path: oct(path.stat().st_mode) for path in made if path.stat().st_mode & 0o077} == {}
    assert len(made) > 100


@pytest.mark.slow
def test_a_sweep_warns_of_results_that_others_can_read_and_goes_on(copy, monkeypatch, capsys):
    monkeypatch.chdir(copy)
    assert main(["small.yaml", "--set", "tracking=~"]) == COMPLETE
    assert "warning" not in capsys.readouterr().out
    (copy / "results" / "small").chmod(0o755)
    assert main(["small.yaml", "--set", "tracking=~"]) == COMPLETE
    line = f"{copy}/results/small may be read by other users of this machine; chmod -R go= {copy}/results/small"
    assert capsys.readouterr().out.count(f"warning: {line}\n") == 1


def test_mlflow_has_one_parent_and_a_run_a_trial_with_numbers_to_compare(swept):
    folder, _ = swept
    client = MlflowClient(database(folder))
    experiment = client.get_experiment_by_name("small")
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    parents = [run for run in runs if run.data.tags["kind"] == "study"]
    children = {run.data.tags["trial_id"]: run for run in runs if run.data.tags["kind"] == "trial"}
    assert len(parents) == 1
    assert parents[0].info.status == "FINISHED"
    wide = read(folder / "results", "small", "wide")
    assert children.keys() == set(wide["trial_id"])
    for row in wide.to_dict("records"):
        run = children[row["trial_id"]]
        assert run.data.tags["mlflow.parentRunId"] == parents[0].info.run_id
        assert run.info.status == "FINISHED"
        assert float(run.data.params["train_size"]) == row["train_size"]
        assert float(run.data.params["epochs"]) == row["epochs"]
        assert float(run.data.params["strength"]) == row["strength"]
        assert run.data.tags["role"] == row["role"]
        private = f"epsilon {row['epsilon']:.3g} per record at delta 1e-05, add-or-remove-one{run_content.UNCOVERED}"
        assert run.data.tags["guarantee"] == (private if row["defense"] == "dp_sgd" else "none")
        assert float(run.data.params["replicate"]) == row["replicate"]
        assert run.data.params["defense"] == row["defense"]
        assert run.data.metrics[f"attack/{row['attack']}/auc"] == row["auc"]
        if row["role"] == "study":
            assert run.data.metrics["quality/kid_domain_unseen"] == row["kid_domain_unseen"]


def runs_of(copy):
    """Runs of a copied store, beside those of the one that it was copied from."""
    client, own = MlflowClient(database(copy)), f"tags.results = '{copy}/results/small'"
    return client.search_runs([client.get_experiment_by_name("small").experiment_id], own, max_results=1000)


@pytest.fixture
def idle(monkeypatch):
    """Nothing may be run, nor Ray asked."""
    monkeypatch.setattr(scheduling, "schedule", lambda *arguments: pytest.fail("nothing is to be run"))


def test_a_second_sweep_runs_nothing_and_changes_no_result(copy, idle):
    before = tree(copy / "results")
    done = run_here("sweep", copy, "small.yaml", "--set", f"tracking={database(copy)}")  # without a Ray
    assert done.returncode == COMPLETE, done.stderr
    after = tree(copy / "results")
    changed = {path for path in after if after[path] != before.get(path)}
    assert {path.name for path in changed} <= {"study.json", ".lock"}
    assert len(runs_of(copy)) == TRIALS + CONTROLS + 1


@pytest.mark.slow
def test_an_added_attack_runs_alone_and_reaches_mlflow(copy):
    before = {path for path in tree(copy / "results") if path.parts[1] in ("trials", "targets", "scores")}
    done = sweep(copy, "--set", "attacks=[white_box, {name: euclidean, generated: 32, label: near}]")
    assert done.returncode == COMPLETE, done.stderr
    assert f"{TRIALS + NULLS} attacks, 0 quality measures" in done.stdout
    added = {path for path in tree(copy / "results") if path.parts[1] in ("trials", "targets", "scores")} - before
    assert len(added) == TRIALS + NULLS
    assert {path.parts[1] for path in added} == {"scores"}
    wide = read(copy / "results", "small", "wide")
    assert set(wide.loc[wide["role"].isin(["study", "null"]), "attack"]) == {"white_box", "near"}
    runs = [run for run in runs_of(copy) if run.data.tags["kind"] == "trial"]
    assert len(runs) == TRIALS + CONTROLS
    runs = [run for run in runs if run.data.tags["role"] in ("study", "null")]
    assert all("attack/near/auc" in run.data.metrics and "attack/euclidean/auc" in run.data.metrics for run in runs)


@pytest.mark.slow
def test_one_failing_trial_is_named_ends_nothing_else_and_is_mended_by_running_again(fresh):
    arguments = ["--set", "replicates=1", "--set", "attacks=[white_box]", "--set", "compute.retries=1",
                 "--set", "compute.checkpoint_seconds=0.000001", *NO_CONTROLS]  # fmt: skip
    assert sweep(fresh, *arguments, "--plan").returncode == COMPLETE
    from study.design.study_design import Design
    from study.spec.study_file import read as read_spec

    spec = read_spec(fresh / "small.yaml", arguments[1::2])
    design = Design(spec, spec.data.build().load())
    broken, lost = design.trials[2:4]
    in_the_way = fresh / "results" / "small" / "checkpoints" / broken.trajectory_id
    in_the_way.parent.mkdir(parents=True)
    in_the_way.touch()  # no checkpoint of this trajectory can be written
    done = sweep(fresh, *arguments)
    assert done.returncode == INCOMPLETE
    assert broken.name.split(" epochs")[0] in done.stdout
    failure_path = fresh / "results" / "small" / "failures" / f"{broken.trajectory_id}.json"
    assert str(failure_path) in done.stdout
    failure = json.loads(failure_path.read_text())
    assert "Traceback" in failure["traceback"]
    assert failure["command"].endswith(f"--id {broken.trial_id}")
    assert f"alone: {failure['command']}" in done.stdout
    assert mia_study("trial")(shlex.split(failure["command"])[2:]) == COMPLETE  # elsewhere, nothing is in the way
    frame = read(fresh / "results", "small", "trials")
    assert set(frame["trial_id"]) == {trial.trial_id for trial in design.trials} - {broken.trial_id, lost.trial_id}
    in_the_way.unlink()
    assert sweep(fresh, *arguments).returncode == COMPLETE
    assert len(read(fresh / "results", "small", "trials")) == len(design.trials)
    assert not failure_path.exists()


@pytest.fixture
def scratch():
    """A temporary folder with a short path, for Ray's sockets."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.mark.long
@pytest.mark.parametrize("sent", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_an_interrupted_sweep_says_it_is_incomplete_leaves_no_scratch_and_goes_on_when_run_again(fresh, scratch, sent):
    arguments = ["--set", "factors.epochs=[1, 2000]", "--set", "attacks=[white_box]", "--set", "replicates=1",
                 "--set", "factors.defense=[none]", "--set", "tracking=~", *NO_CONTROLS]  # fmt: skip
    command = [*MIA_STUDY, "sweep", "small.yaml", *arguments]
    environment = {**os.environ, "TMPDIR": str(scratch), "RAY_TMPDIR": str(scratch)}
    process = subprocess.Popen(
        command, cwd=fresh, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    deadline = time.monotonic() + 120
    while not list((fresh / "results" / "small").glob("done/*.json")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(sent)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == INCOMPLETE, output + errors
    assert list(scratch.iterdir()) == []
    sealed = set((fresh / "results" / "small" / "done").iterdir())
    assert 0 < len(sealed) < 4
    assert "the same command goes on" in output
    if sent == signal.SIGTERM:
        again = sweep(fresh, *arguments, "--set", "factors.epochs=[1, 2]")
        assert again.returncode == COMPLETE, again.stdout + again.stderr
        assert sealed < set((fresh / "results" / "small" / "done").iterdir())
        assert len(read(fresh / "results", "small", "trials")) == 4


def test_a_machine_without_git_says_so_and_goes_on(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert code_versions()["git_commit"] == "unknown"


def test_the_plan_says_what_would_run_and_does_nothing(fresh, capsys, monkeypatch):
    monkeypatch.chdir(fresh)
    before = tree(fresh)
    assert main(["small.yaml", "--plan"]) == COMPLETE
    printed = capsys.readouterr().out
    assert "24 (0 trained, 24 to train in 12 trajectories)" in printed
    assert "controls: 2 blind, 4 null, 2 copycat (8 to run)" in printed
    assert "epsilon per record of dp_sgd sigma=1, n=40" in printed
    assert "descriptive only" in printed
    assert tree(fresh) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.yaml"], "absent.yaml: cannot be read: No such file or directory; name a file that can"),
        (["broken.yaml"], "broken.yaml:2:1"),
        (["twice.yaml"], "duplicate key 'study'"),
        (["small.yaml", "--set", "data.name=digts"], "did you mean 'digits'"),
        (["small.yaml", "--set", "factors.epochs=[-1]"], "whole numbers from 1"),
        (["small.yaml", "--set", "factors.train_size=[40, 5000]"], "1797 records"),
        (["small.yaml", "--set", "attacks=[white_bx]"], "did you mean 'white_box'"),
        (["small.yaml", "--set", "results=file/below"], "cannot write to"),
        (["small.yaml", "--set", "results=gs://bucket"], "not supported"),
    ],
)
def test_bad_input_is_refused_with_one_line_and_code_2_before_anything_starts(
    fresh, capsys, monkeypatch, arguments, message
):
    (fresh / "broken.yaml").write_text("study: [small\n")
    (fresh / "twice.yaml").write_text("study: a\nstudy: b\n")
    (fresh / "file").write_text("not a folder")
    monkeypatch.chdir(fresh)
    before = tree(fresh)
    assert main(arguments) == REFUSED
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert tree(fresh) == before


@pytest.mark.slow
def test_an_absent_mlflow_server_costs_seconds_and_is_said_once(copy, idle):
    started = time.monotonic()
    done = sweep(copy, "--set", "tracking=http://someone:hidden@127.0.0.1:9")
    assert done.returncode == COMPLETE, done.stderr
    assert done.stdout.count("MLflow is not reachable") == 1
    assert f"mia-study track {copy}/results/small --tracking http://127.0.0.1:9 fills it in" in done.stdout
    assert "hidden" not in done.stdout + done.stderr
    assert time.monotonic() - started < 60


@pytest.fixture
def silent():
    """A server that accepts and never answers: its port, and the connections made to it so far."""
    connections = []

    def accept():
        with contextlib.suppress(OSError):
            while True:
                connections.append(listening.accept()[0])

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=accept)
        thread.start()
        yield listening.getsockname()[1], connections
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
    for connection in connections:
        connection.close()


@pytest.mark.slow
def test_a_server_that_never_answers_is_asked_at_the_start_and_at_the_end_alone(fresh, silent):
    port, connections = silent
    few = ["--set", "replicates=1", "--set", "attacks=[white_box]", "--set", "quality.measures=[]", *NO_CONTROLS]
    done = sweep(fresh, *few, "--set", f"tracking=http://127.0.0.1:{port}")
    assert done.returncode == COMPLETE, done.stderr
    assert done.stdout.count("MLflow is not reachable") == 1
    assert len(read(fresh / "results", "small", "trials")) == TRIALS / 2
    asked, retried = 2, 2  # at the start, and at the end for what a server that came back would lack
    assert len(connections) == asked * (1 + retried)


@pytest.mark.slow
def test_checkpoints_of_an_attempt_that_died_after_its_last_seal_are_gone_after_the_next_sweep(copy, idle):
    store = Store(copy / "results", "small")
    trials = read(copy / "results", "small", "trials")
    for trajectory_id in ("another", *trials["trajectory_id"].unique()[:2]):
        store.save_checkpoint(trajectory_id, {}, {"step": 1})
    assert sweep(copy).returncode == COMPLETE
    assert [path.name for path in (store.folder / "checkpoints").iterdir()] == ["another"]


@pytest.mark.slow
def test_mlflow_that_was_away_gets_everything_from_the_store_at_the_next_start(copy, idle):
    (copy / "mlflow.db").unlink()
    assert sweep(copy).returncode == COMPLETE
    runs = [run for run in runs_of(copy) if run.data.tags["kind"] == "trial"]
    assert len(runs) == TRIALS + CONTROLS
    assert all(any(key.endswith("/auc") for key in run.data.metrics) for run in runs)


def test_a_store_written_before_target_epsilon_reaches_mlflow_too(make_design, store, monkeypatch, tmp_path):
    add_database(tmp_path)
    small = (
        "factors.train_size=[40]",
        "factors.epochs=[1]",
        "factors.defense=[none]",
        "replicates=1",
        "attacks=[white_box]",
    )
    none = ("quality.measures=[]", "controls={blind: false, nulls: false, copycat: false}")
    design = make_design(*small, *none)
    store.publish(design.hash, design.spec.resolved, design_rows(design), {})
    for works in missing(design, store).values():
        list(Runner(design, store).run(works))

    def older(*arguments):
        names, tables = trial_tables(*arguments)
        return names, {**tables, "trials": tables["trials"].drop(columns=["target_epsilon", "delta"])}

    monkeypatch.setattr(run_content, "trial_tables", older)
    warnings: list[str] = []
    tracker.Tracker(store, database(tmp_path), warnings.append).reconcile()
    assert not warnings
    client = MlflowClient(database(tmp_path))
    assert len(client.search_runs([client.get_experiment_by_name("small").experiment_id], "tags.kind = 'trial'")) == 1


@pytest.mark.slow
def test_a_pilot_runs_one_trajectory_of_the_study_plans_again_and_its_work_is_not_done_twice(fresh):
    arguments = ["--set", "replicates=1", "--set", "factors.defense=[none]", *NO_CONTROLS]
    pilot = sweep(fresh, *arguments, "--pilot")
    assert pilot.returncode == COMPLETE, pilot.stderr
    assert "pilot: dcgan n=40 epochs=2 none replicate=0" in pilot.stdout
    assert "trials: 4 (2 trained, 2 to train in 1 trajectories)" in pilot.stdout
    assert "time: about" in pilot.stdout
    before = tree(fresh / "results" / "small" / "trials")
    assert len(before) == 2
    done = sweep(fresh, *arguments, "--max-hours", "1")
    assert done.returncode == COMPLETE, done.stderr
    after = tree(fresh / "results" / "small" / "trials")
    assert len(after) == 4
    assert before.items() <= after.items()
    assert not (fresh / "results" / "small" / "progress.json").exists()


FEW = [
    "replicates=3",
    "attacks=[white_box]",
    "quality.measures=[]",
    "factors.defense=[none]",
    "factors.train_size=[40]",
]


@pytest.mark.long
def test_a_sweep_derives_attacks_after_its_trials_and_mlflow_gets_them_and_again_it_does_nothing(fresh):
    overrides = [*NO_CONTROLS, *(word for setting in FEW for word in ("--set", setting))]
    done = sweep(fresh, *overrides)
    assert done.returncode == COMPLETE, done.stdout + done.stderr
    assert "derived from sealed scores, by the other replicates: calibrated_white_box" in done.stdout
    rows = read(fresh / "results", "small", "wide")
    assert (rows["attack"] == "calibrated_white_box").sum() == 6 and len(rows) == 12
    client = MlflowClient(database(fresh))
    runs = client.search_runs([client.get_experiment_by_name("small").experiment_id])
    auc = {run.data.tags.get("trial_id"): run.data.metrics.get("attack/calibrated_white_box/auc") for run in runs}
    expected = rows[rows["base"].notna()].set_index("trial_id")["auc"]
    assert {trial: auc[trial] for trial in expected.index} == pytest.approx(expected.to_dict())
    before = Store(fresh / "results", "small").passes()
    assert sweep(fresh, *overrides).returncode == COMPLETE
    assert Store(fresh / "results", "small").passes() == before

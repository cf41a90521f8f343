"""Fault 14: trainings and attacks that raise, workers that die for good; --retry-failed, commands that repeat a trial.

A target that cannot be written: tests/study/test_sweep.py. An attack that raises costs itself only:
tests/study/test_attacks_in_trials.py.
"""

import json
import os
import shlex
import subprocess

import pytest

from study.outcomes import COMPLETE, INCOMPLETE
from study.store import Store, read
from tests.commands import MIA_STUDY
from tests.faults.faulty import PROJECT, TRIALS, Sweep, assert_as_undisturbed, redone, wait_for

TEXT = "no samples today"
DIVERGING = ("--set", "factors.training.learning_rate=[0.0002, 1e30]", "--set", "factors.defense=[none]",
             "--set", "compute.retries=1")  # fmt: skip


def alone(folder, failure):
    """Run the command that a failure names; its end."""
    words = shlex.split(failure["command"])
    assert words[0] == "mia-study"
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*MIA_STUDY, *words[1:]], cwd=folder, capture_output=True, text=True, env=environment, check=False
    )


def failures(folder):
    """What is kept of the failures of a folder's study, with their files."""
    return {path: json.loads(path.read_bytes()) for path in (folder / "results" / "small" / "failures").iterdir()}


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_training_that_diverges_is_a_result_that_is_told_and_never_run_again(tmp_path):
    with Sweep(tmp_path, *DIVERGING) as sweep:
        output, _ = sweep.end(COMPLETE)
    assert "diverged: 2 of" in output
    assert not (tmp_path / "results" / "small" / "failures").exists()
    trials = read(tmp_path / "results", "small", "trials")
    assert set(trials.loc[trials["training.learning_rate"] == 1e30, "flags"]) == {"diverged"}
    assert trials.loc[trials["training.learning_rate"] == 0.0002, "flags"].isna().all()
    with Sweep(tmp_path, *DIVERGING) as sweep:
        output, _ = sweep.end(COMPLETE)
    assert "diverged:" in output


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_attacks_that_raise_are_named_and_retry_failed_runs_them_alone(undisturbed, tmp_path):
    with Sweep(tmp_path, "--set", "compute.retries=0", RAISES=TEXT) as sweep:
        output, _ = sweep.end(INCOMPLETE)
    found = failures(tmp_path)
    assert len(found) == 2
    for path, failure in found.items():
        assert failure["error"] == f"TrajectoryFailed: euclidean failed: RuntimeError: {TEXT}"
        assert f"raise RuntimeError(text)\nRuntimeError: {TEXT}" in failure["traceback"]
        assert "epochs=1 " in failure["trial"]
        assert str(path) in output
    repeated = alone(tmp_path, failure)
    assert repeated.returncode == COMPLETE, repeated.stderr
    assert "euclidean" in repeated.stdout
    assert len(failures(tmp_path)) == 2
    path.unlink()  # as if this trajectory had been interrupted
    with Sweep(tmp_path, "--retry-failed") as sweep:
        output, _ = sweep.end(INCOMPLETE)
    assert f"incomplete: 2 of {TRIALS} trials" in output
    assert not failures(tmp_path)
    with Sweep(tmp_path, "--retry-failed") as sweep:
        sweep.end(INCOMPLETE)
    with Sweep(tmp_path) as sweep:
        sweep.end(COMPLETE)
    assert_as_undisturbed(tmp_path, undisturbed)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_trajectory_whose_worker_dies_at_every_attempt_is_named_and_run_again_by_the_same_command(
    undisturbed, tmp_path, record
):
    store, killed = Store(tmp_path / "results", "small"), set()
    with Sweep(tmp_path, "--set", "compute.retries=1") as sweep:
        while wait_for(sweep.workers, sweep):
            for worker in sweep.workers():
                killed.add(worker.pid)
                worker.kill()
        output, _ = sweep.end(INCOMPLETE)
    found = failures(tmp_path)
    assert len(found) == 2
    for path, failure in found.items():
        assert "died" in failure["error"]
        assert str(path) in output
        assert failure["trial_id"] not in store.done()
    with Sweep(tmp_path) as sweep:
        sweep.end(COMPLETE)
    assert_as_undisturbed(tmp_path, undisturbed)
    record(injected=len(killed), redone=redone(tmp_path))

"""Faults 1, 2, 11, 12 and 21: SIGKILL of workers, drivers, a raylet; Tune's state, two drivers, a number of workers.

Fault 6, SIGINT and SIGTERM, too, and a fast part of it in tests/study/test_sweep.py.
"""

import contextlib
import random
import shutil
import signal
import time

import psutil
import pytest

from study.outcomes import COMPLETE, INCOMPLETE, REFUSED
from study.store import Store
from tests.commands import run_here
from tests.faults.faulty import (
    STEPS,
    STEPS_PER_EPOCH,
    TRAJECTORIES,
    Sweep,
    assert_as_undisturbed,
    redone,
    steps,
    wait_for,
    write_study,
)

PER_KILL = TRAJECTORIES * STEPS_PER_EPOCH
"""A checkpoint period, which is an epoch here, of each running trajectory."""


SLOW_DISK = {"SYNC_SECONDS": "0.02"}
"""So that a worker is met while it writes, whatever else the machine does."""


def is_named(process, name):
    """Whether it still runs under that name."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.name() == name
    return False


MOMENTS = {
    "before Ray starts": lambda folder, sweep: (folder / "results" / "small" / "study.json").is_file(),
    "while Ray starts": lambda folder, sweep: any(is_named(child, "gcs_server") for child in sweep.processes()),
    "before the first step": lambda folder, sweep: sweep.workers(),
    "in training": lambda folder, sweep: len(steps(folder)) >= STEPS / 20,
}
"""When a signal is sent: as soon as this holds."""


def begun_writes(folder):
    """Checkpoints that a worker is writing, or was when it died."""
    return list((folder / "results" / "small" / "checkpoints").glob("*/.*"))


def kill_while_writing(folder, sweep):
    """SIGKILL the workers between the first byte of a checkpoint and its rename; whether that was met."""
    before = set(begun_writes(folder))
    while new := wait_for(lambda: set(begun_writes(folder)) - before, sweep, pause=0.0005):
        workers = sweep.workers()
        for worker in workers:
            worker.suspend()
        caught = any(path.exists() for path in new)
        for worker in workers:
            worker.kill() if caught else worker.resume()
        if caught:
            return True
    return False


def kill_after_steps(folder, sweep, count):
    """SIGKILL the workers after so many steps more; whether it came to that."""
    before = len(steps(folder))
    if not wait_for(lambda: len(steps(folder)) >= before + count, sweep, pause=0.002):
        return False
    workers = sweep.workers()
    for worker in workers:
        worker.kill()
    return bool(workers)


@pytest.mark.slow
def test_workers_killed_while_they_write_a_checkpoint_lose_one_period_at_most(undisturbed, tmp_path, record):
    with Sweep(tmp_path, **SLOW_DISK) as sweep:
        assert kill_while_writing(tmp_path, sweep)
        sweep.end(COMPLETE)
    assert 0 < redone(tmp_path) <= PER_KILL
    assert_as_undisturbed(tmp_path, undisturbed)
    record(injected=1, redone=redone(tmp_path))


@pytest.mark.slow
def test_a_killed_driver_and_ray_lose_one_period_at_most_and_the_same_command_goes_on(undisturbed, tmp_path, record):
    with Sweep(tmp_path) as sweep:
        assert wait_for(lambda: len(steps(tmp_path)) > STEPS / 2, sweep)
        sweep.kill()
    with Sweep(tmp_path) as sweep:
        sweep.end(COMPLETE)
    assert 0 < redone(tmp_path) <= PER_KILL
    assert_as_undisturbed(tmp_path, undisturbed)
    record(injected=1, redone=redone(tmp_path))


def test_a_second_driver_is_refused_in_one_line(tmp_path):
    write_study(tmp_path)
    with Store(tmp_path / "results", "small").lock():
        second = run_here("sweep", tmp_path, "faulty.yaml")
    assert second.returncode == REFUSED
    assert "another sweep or mia-study track is working on" in second.stderr
    assert second.stderr.count("\n") == 1
    assert second.stdout == ""


KILLS = 20
"""More than these a soak of workers does not inject: each costs the start of a worker."""


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_soak_of_workers_killed_at_random_steps_and_in_checkpoint_writes(undisturbed, tmp_path, record):
    draw, kills, torn = random.Random(1), 0, 0
    with Sweep(tmp_path, "--set", "compute.retries=1000", **SLOW_DISK) as sweep:
        while sweep.process.poll() is None and kills < KILLS:
            if draw.random() < 0.5:
                caught = kill_while_writing(tmp_path, sweep)
                torn += caught
            else:
                caught = kill_after_steps(tmp_path, sweep, draw.randint(1, 40))
            kills += caught
        sweep.end(COMPLETE)
    assert kills > 4
    assert torn > 0
    assert redone(tmp_path) <= kills * PER_KILL
    assert_as_undisturbed(tmp_path, undisturbed)
    record(injected=kills, redone=redone(tmp_path), in_a_checkpoint_write=torn)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("driver_only", [False, True])
def test_soak_of_drivers_killed_again_and_again(undisturbed, tmp_path, record, driver_only):
    draw, starts, processes = random.Random(2), 0, 0
    for kill in range(12):
        with Sweep(tmp_path) as sweep:
            if kill % 3 == 0:
                time.sleep(draw.uniform(0, 15))  # anywhere, also before there is a Ray
            else:
                before = len(steps(tmp_path))
                more = draw.randint(1, 20)
                wait_for(lambda: len(steps(tmp_path)) >= before + more, sweep)  # noqa: B023
            if sweep.process.poll() is not None:
                break
            processes += sweep.kill(driver_only)
            starts += 1
    with Sweep(tmp_path) as sweep:
        sweep.end(COMPLETE)
    assert starts >= 8
    assert redone(tmp_path) <= starts * PER_KILL
    assert_as_undisturbed(tmp_path, undisturbed)
    record(injected=starts, redone=redone(tmp_path), processes=processes)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_killed_raylet_loses_one_period_at_most_and_the_same_command_goes_on(undisturbed, tmp_path, record):
    with Sweep(tmp_path) as sweep:
        assert wait_for(lambda: len(steps(tmp_path)) > STEPS / 20, sweep)
        (raylet,) = (child for child in sweep.processes() if child.name() == "raylet")
        raylet.kill()
        output, errors = sweep.end(COMPLETE, INCOMPLETE)  # what trains may end without it, before Ray gives up
        complete = sweep.process.returncode == COMPLETE
    assert complete or "the same command goes on" in output + errors
    with Sweep(tmp_path) as sweep:
        sweep.end(COMPLETE)
    assert redone(tmp_path) <= PER_KILL
    assert_as_undisturbed(tmp_path, undisturbed)
    record(injected=1, redone=redone(tmp_path))


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("when", MOMENTS)
def test_an_interruption_at_any_time_is_said_and_resumable(undisturbed, tmp_path, record, sent, when):
    (tmp_path / "results").mkdir()
    # One after the other: Tune lets what runs go on for up to 5 s, in which a fast machine completes it.
    with Sweep(tmp_path, "--set", "compute.concurrent=1") as sweep:
        assert wait_for(lambda: MOMENTS[when](tmp_path, sweep), sweep, pause=0.001)
        sweep.process.send_signal(sent)
        output, errors = sweep.end(INCOMPLETE)
    assert "the same command goes on" in output + errors
    assert "Traceback" not in output + errors
    with Sweep(tmp_path) as sweep:
        sweep.end(COMPLETE)
    assert redone(tmp_path) <= PER_KILL
    assert_as_undisturbed(tmp_path, undisturbed)
    record(injected=1, redone=redone(tmp_path))


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_driver_beside_a_running_one_is_refused_and_one_after_a_killed_one_is_not(undisturbed, tmp_path, record):
    with Sweep(tmp_path) as first:
        assert wait_for(lambda: steps(tmp_path), first)
        with Sweep(tmp_path) as second:
            assert "another sweep or mia-study track is working on" in second.end(REFUSED)[1]
        first.kill()
    with Sweep(tmp_path) as third:
        third.end(COMPLETE)
    assert_as_undisturbed(tmp_path, undisturbed)
    record(injected=2, redone=redone(tmp_path))


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_tunes_own_state_is_never_read(undisturbed, tmp_path, record):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    places = {"TMPDIR": str(scratch), "RAY_TMPDIR": "/tmp"}  # Tune's, and Ray's: the path of a socket must be short
    with Sweep(tmp_path, **places) as sweep:
        assert wait_for(lambda: len(steps(tmp_path)) > STEPS / 2, sweep)
        sweep.kill()
    (state,) = scratch.glob("tune-*")
    for path in state.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:7])
    with Sweep(tmp_path, **places) as sweep:
        assert wait_for(lambda: len(steps(tmp_path)) > STEPS * 3 / 4, sweep)
        sweep.kill()
    shutil.rmtree(scratch)
    scratch.mkdir()
    with Sweep(tmp_path, **places) as sweep:
        sweep.end(COMPLETE)
    assert redone(tmp_path) <= 2 * PER_KILL
    assert_as_undisturbed(tmp_path, undisturbed)
    record(injected=2, redone=redone(tmp_path))


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_another_number_of_workers_gives_the_same_bits(undisturbed, tmp_path, record):
    with Sweep(tmp_path, "--set", "compute.concurrent=2") as sweep:
        sweep.end(COMPLETE)
    assert_as_undisturbed(tmp_path, undisturbed)
    record(injected=0, redone=redone(tmp_path))

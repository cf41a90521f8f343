"""Faults 7, 8 and 9: storage read-only at the start, full or read-only in a running sweep, Ray's scratch folder full.

Each sweep runs in a mount namespace of its own, so that nothing of the machine is filled or changed.
"""

import subprocess
import time
from pathlib import Path

import pytest

from study.outcomes import COMPLETE, INCOMPLETE, REFUSED
from tests.faults.faulty import STEPS, Sweep, assert_as_undisturbed, redone, steps, wait_for

OUTAGE = 12.0
"""Seconds."""
ALONE = ["unshare", "--mount", "--propagation", "private"]


def permitted():
    """Why mounting is not possible here, or nothing."""
    try:
        done = subprocess.run([*ALONE, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False)
    except OSError as error:
        return str(error)
    return done.stderr.decode()


REASON = permitted()
pytestmark = pytest.mark.skipif(bool(REASON), reason=f"mounting is not permitted: {REASON}")


def mounted(*commands):
    """A shell that mounts first, then becomes the sweep."""
    return [*ALONE, "bash", "-ec", "\n".join([*commands, 'exec "$@"']), "bash"]


def inside(sweep, *command):
    """Run a command in the sweep's mounts."""
    subprocess.run(["nsenter", f"--mount=/proc/{sweep.process.pid}/ns/mnt", *command], check=True)


def fill(path):
    """Write until nothing more fits."""
    with open(path, "wb", buffering=0) as file:  # noqa: PTH123
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


@pytest.mark.slow
def test_storage_that_is_read_only_at_the_start_is_refused_in_one_line(tmp_path):
    (tmp_path / "results").mkdir()
    with Sweep(tmp_path, within=mounted("mount -t tmpfs -o ro results results")) as sweep:
        output, errors = sweep.end(REFUSED)
    assert "results: cannot write to" in errors
    assert errors.count("\n") == 1
    assert output == ""
    assert not steps(tmp_path)


def tmpfs(folder, then):
    """A small results file system, and what the shell does with the sweep in it."""
    (folder / "results").mkdir()
    return [*ALONE, "bash", "-ec", f"mount -t tmpfs -o size=16m results results\n{then}", "bash"]


def seen(sweep, path):
    """A path as the sweep sees it."""
    return Path(f"/proc/{sweep.process.pid}/root{path}")


def outage(sweep, folder, how):
    """Have the results file system full, or read-only, for a while."""
    results = seen(sweep, folder / "results")
    if how == "full":
        fill(results / "filler")
        time.sleep(OUTAGE)
        (results / "filler").unlink()
    else:
        inside(sweep, "mount", "--bind", f"{folder}/results", f"{folder}/results")
        inside(sweep, "mount", "-o", "remount,bind,ro", f"{folder}/results")
        time.sleep(OUTAGE)
        inside(sweep, "umount", "--lazy", f"{folder}/results")


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("how", ["full", "read-only"])
def test_storage_that_is_full_or_read_only_for_some_seconds_costs_no_trial(undisturbed, tmp_path, record, how):
    with Sweep(tmp_path, within=tmpfs(tmp_path, '"$@" && cp -r results saved')) as sweep:
        assert wait_for(lambda: len(steps(tmp_path)) > STEPS / 4, sweep)
        outage(sweep, tmp_path, how)
        output, _ = sweep.end(COMPLETE)
    assert "attempts tried again" in output
    (tmp_path / "results").rmdir()
    (tmp_path / "saved").rename(tmp_path / "results")
    assert_as_undisturbed(tmp_path, undisturbed)
    record(injected=1, redone=redone(tmp_path))


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_storage_that_stays_full_stops_the_sweep_which_goes_on_when_there_is_room(undisturbed, tmp_path, record):
    then = '"$@" && exit 99\n test $? == 1; rm results/filler; "$@"; cp -r results saved'
    within = tmpfs(tmp_path, then)
    with Sweep(tmp_path, within=within, STORAGE_SECONDS="3") as sweep:
        assert wait_for(lambda: len(steps(tmp_path)) > STEPS / 4, sweep)
        fill(seen(sweep, tmp_path / "results" / "filler"))
        output, errors = sweep.end(COMPLETE)
    assert "stopping: results: cannot write to" in output
    assert "the same command goes on" in output + errors
    (tmp_path / "results").rmdir()
    (tmp_path / "saved").rename(tmp_path / "results")
    assert_as_undisturbed(tmp_path, undisturbed)
    record(injected=1, redone=redone(tmp_path))


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_full_scratch_folder_of_ray_loses_nothing(undisturbed, tmp_path, record):
    within = mounted("mount -t tmpfs -o size=64m scratch /mnt")
    with Sweep(tmp_path, within=within, TMPDIR="/mnt", RAY_TMPDIR="/mnt") as sweep:
        assert wait_for(lambda: len(steps(tmp_path)) > STEPS / 4, sweep)
        fill(seen(sweep, "/mnt/filler"))
        sweep.end(COMPLETE, INCOMPLETE)
    code = sweep.process.returncode
    with Sweep(tmp_path) as sweep:
        sweep.end(COMPLETE)
    assert_as_undisturbed(tmp_path, undisturbed)
    record(injected=1, redone=redone(tmp_path), exit_code=code)

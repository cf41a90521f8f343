"""Fault 22: trials that share GPUs get disjoint devices, and no more trials than fit. The GPUs are made up."""

import json
from collections import defaultdict

import pytest

from tests.faults.faulty import Sweep

GPUS, BYTES = 2, 16 * 2**30


def gpu_sweep(folder, *settings, **environment):
    """A sweep of several trajectories on GPUs that are made up."""
    own = ["replicates=4", "factors.defense=[none]", "compute.concurrent=4", *settings]
    arguments = [word for setting in own for word in ("--set", setting)]
    given = json.dumps({"CPU": 4, "GPU": GPUS})
    return Sweep(folder, *arguments, RAY_OVERRIDE_RESOURCES=given, **environment)


def seen(folder):
    """By share: trajectories that ran on it, and by device how many at once at most."""
    running, ran, most = defaultdict(set), defaultdict(set), defaultdict(lambda: defaultdict(int))
    for line in (folder / "steps.devices").read_text().splitlines():
        trajectory, event, device, share = line.split()
        (running[device].add if event == "start" else running[device].discard)(trajectory)
        ran[float(share)].add(trajectory)
        most[float(share)][device] = max(most[float(share)][device], len(running[device]))
    return ran, most


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("share", "together"), [(0.5, 2), (1, 1)])
def test_trials_that_share_gpus_are_spread_over_them_and_see_one_each(tmp_path, share, together):
    with gpu_sweep(tmp_path, f"compute.gpus_per_trial={share}") as sweep:
        sweep.end(0)
    ran, most = seen(tmp_path)
    assert {key: len(trajectories) for key, trajectories in ran.items()} == {share: 4}
    assert most[share] == {"0": together, "1": together}


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_auto_runs_one_trajectory_on_a_whole_gpu_and_the_rest_as_many_as_its_peak_leaves_room_for(tmp_path):
    with gpu_sweep(tmp_path, GPU_BYTES=str(BYTES), PEAK_BYTES=str(BYTES // 3)) as sweep:
        output, _ = sweep.end(0)
    assert "GPUs: 1 trajectories are run on whole ones first, to see what they take" in output
    assert (
        "GPUs: 0.5 of one for each trial: 2 at once on each: one took up to 5.33 GiB of the 16 GiB of made up" in output
    )
    ran, most = seen(tmp_path)
    assert {key: len(trajectories) for key, trajectories in ran.items()} == {1.0: 1, 0.5: 3}
    assert max(most[0.5].values()) == 2
    added = ("replicates=6", "compute.gpus_per_trial=0.25")
    with gpu_sweep(tmp_path, *added, GPU_BYTES=str(BYTES), PEAK_BYTES=str(BYTES // 3)) as sweep:
        _, errors = sweep.end(2)
    assert (
        "compute.gpus_per_trial: 0.25 of the 16 GiB of made up does not hold a trial, which took up to 5.33" in errors
    )
    assert errors.count("\n") == 1
    with gpu_sweep(tmp_path, "replicates=6", GPU_BYTES=str(BYTES), PEAK_BYTES=str(BYTES // 3)) as sweep:
        output, _ = sweep.end(0)
    assert "on whole ones first" not in output
    assert "GPUs: 0.5 of one for each trial" in output


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_trial_that_runs_out_of_memory_is_named_and_run_on_a_larger_share(tmp_path):
    part = "compute.gpus_per_trial=0.25"
    with gpu_sweep(tmp_path, part, GPU_BYTES=str(BYTES), PEAK_BYTES=str(BYTES // 3)) as sweep:
        output, _ = sweep.end(0)
    assert output.count("ran out of memory, and gets a larger share of a GPU") == 4
    ran, _ = seen(tmp_path)
    assert {key: len(trajectories) for key, trajectories in ran.items()} == {0.25: 4, 0.5: 4}

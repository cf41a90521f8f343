"""Fault 22: trials that share GPUs get disjoint devices, and no more trials than fit. The GPUs are made up."""

import json
from collections import defaultdict

import pytest

from tests.faults.faulty import Sweep


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("share", "together"), [(0.5, 2), (1, 1)])
def test_trials_that_share_gpus_are_spread_over_them_and_see_one_each(tmp_path, share, together):
    given = json.dumps({"CPU": 4, "GPU": 2})
    arguments = ["replicates=4", "factors.defense=[none]", f"compute.gpus_per_trial={share}", "compute.concurrent=4"]
    with Sweep(
        tmp_path, *(word for setting in arguments for word in ("--set", setting)), RAY_OVERRIDE_RESOURCES=given
    ) as sweep:
        sweep.end(0)
    events = [line.split() for line in (tmp_path / "steps.devices").read_text().splitlines()]
    running, most = defaultdict(set), defaultdict(int)
    for trajectory, event, device in events:
        (running[device].add if event == "start" else running[device].discard)(trajectory)
        most[device] = max(most[device], len(running[device]))
    assert len(events) == 2 * 4
    assert most == {"0": together, "1": together}

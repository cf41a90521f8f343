"""Nodes come for queued trajectories and go after them, by Ray's autoscaler with its fake provider.

It starts and ends Ray by name, hence a host of its own.
"""

import json

import pytest

from tests.cluster.onprem import COPIED, shown, sweep_folder
from tests.faults.faulty import PATIENCE, PROJECT


@pytest.mark.cluster
@pytest.mark.timeout(1800)
def test_gpu_nodes_come_from_zero_for_queued_trajectories_and_go_again(hosts, record):
    cloud = hosts.host("cloud", "10.77.0.20")
    folder = sweep_folder(hosts, "autoscaled")
    cloud.run(f"rsync -a {COPIED} {PROJECT}/ mia-study/ && echo 'export PATH=~/mia-study/.venv/bin:$PATH' > .bashrc")
    printed = cloud.run(f"cd {shown(folder)} && python -m tests.cluster.autoscaled", seconds=PATIENCE)
    seen = json.loads(printed.splitlines()[-1])
    cloud.power_off()
    record(**seen)
    assert seen["before"] == {}
    assert seen["code"] == 0
    assert 1 <= seen["most"]["gpu"] <= 2
    assert "cpu" not in seen["most"]  # trials ask for a share of a GPU before there is one
    assert seen["after"] == {}

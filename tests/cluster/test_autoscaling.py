"""Nodes come for queued trajectories and go after them, by Ray's autoscaler with its fake provider.

It starts and ends Ray by name, hence a host of its own.
"""

import json
from pathlib import Path

import pytest
from ray.autoscaler._private import fake_multi_node

from tests.cluster.onprem import COPIED, shown, sweep_folder
from tests.faults.faulty import PATIENCE, PROJECT

PROVIDER = Path(fake_multi_node.__file__).parent


@pytest.mark.cluster
@pytest.mark.timeout(1800)
def test_gpu_nodes_come_from_zero_for_queued_trajectories_and_go_again(hosts, record):
    cloud = hosts.host("cloud", "10.77.0.20")
    folder = sweep_folder(hosts, "autoscaled")
    cloud.run(f"rsync -a {COPIED} {PROJECT}/ mia-study/ && echo 'export PATH=~/mia-study/.venv/bin:$PATH' > .bashrc")
    cloud.run(f"cp -r {PROVIDER} /run/provider && cp mia-study/tests/cluster/example.yaml /run/provider")
    cloud.run(f"mount --bind /run/provider {PROVIDER}")
    printed = cloud.run(f"cd {shown(folder)} && python -m tests.cluster.autoscaled", seconds=PATIENCE)
    seen = json.loads(printed.splitlines()[-1])
    cloud.power_off()
    record(**seen)
    assert seen["before"] == {}
    assert seen["code"] == 0
    assert 1 <= seen["most"]["gpu"] <= 2
    assert "cpu" not in seen["most"]  # trials ask for a share of a GPU before there is one
    assert seen["after"] == {}

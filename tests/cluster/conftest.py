"""A laptop, a head and two workers, and on them the cluster that configs/clusters/onprem.yaml describes."""

import sys
import time
from pathlib import Path

import pytest

from tests.cluster.hosts import Network, absent
from tests.cluster.onprem import ADDRESSES, Cluster, command, equip, shown, steps_file, sweep_folder
from tests.faults.faulty import PROJECT

ENVIRONMENT = f"mkdir -p ~/mia-study && ln -sfn {sys.prefix} ~/mia-study/.venv"
"""Each host has the locked environment already: they reach no package index."""


@pytest.fixture(scope="session")
def hosts(tmp_path_factory):
    """A network without hosts so far."""
    if reason := absent():
        pytest.skip(f"hosts on one machine: {reason}")
    folder = tmp_path_factory.mktemp("hosts")
    with Network(folder, [Path(sys.prefix), Path(sys.base_prefix), PROJECT], ENVIRONMENT) as network:
        yield network


@pytest.fixture(scope="session")
def network(hosts):
    """The cluster's hosts, and a laptop that has the project and the cluster's file, key and token."""
    for name, address in ADDRESSES.items():
        hosts.host(name, address)
    equip(hosts)
    return hosts


@pytest.fixture(scope="session")
def cluster(network):
    """The cluster, up."""
    cluster = Cluster(network)
    cluster.up()
    return cluster


@pytest.fixture(scope="session")
def alone(network):
    """The folder of the same sweep on one machine, on one worker at a time."""
    folder = sweep_folder(network, "alone")
    laptop = network.hosts["laptop"]
    laptop.run(f"cd {shown(folder)} && {command(folder)} --set compute.concurrent=1", **steps_file(folder))
    return folder


@pytest.fixture
def record(request, capsys):
    """Print figures, and how long the test took so far."""
    started = time.monotonic()

    def say(**figures):
        words = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in figures.items())
        with capsys.disabled():
            print(f"\n{request.node.name}: {words}, {time.monotonic() - started:.0f} s")

    return say

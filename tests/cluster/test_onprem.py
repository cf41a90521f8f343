"""Three hosts, `ray up`, sweeps over them; faults 3, 4, 5, 18 and 20. One cluster, tests in order, the last ends it.

Each sweep must end with the store of one on a single machine: the same rows and bits, whatever happened.
"""

import json
import re
import time
from pathlib import Path

import pytest

from study.store import read
from study.sweep import REFUSED
from tests.cluster.conftest import EPOCHS, WORKERS, lines
from tests.faults.faulty import PROJECT, STEPS_PER_EPOCH, assert_as_undisturbed

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
TRAJECTORIES = 4
STEPS = TRAJECTORIES * EPOCHS * STEPS_PER_EPOCH
EARLY = STEPS // 4
BACK = 15.0
"""Seconds without a host, or without its network."""


@pytest.fixture
def whole(cluster):
    """The cluster with all its workers, however the test before left it."""
    cluster.complete()
    return cluster


@pytest.fixture
def record(request, capsys):
    """Print figures, and how long the test took so far."""
    started = time.monotonic()

    def say(**figures):
        words = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in figures.items())
        with capsys.disabled():
            print(f"\n{request.node.name}: {words}, {time.monotonic() - started:.0f} s")

    return say


def redone(folder):
    """Training steps begun more than once, after checking that each was begun."""
    begun = (folder / "steps").read_text().splitlines()
    assert len(set(begun)) == STEPS
    return len(begun) - STEPS


def nodes(folder):
    """Hosts that trials ran on."""
    trials = read(folder / "results", "small", "trials")
    return {json.loads(text)["node"] for text in trials["versions"]}


def test_ray_up_starts_every_worker_and_a_sweep_uses_them_all(cluster, alone, record):
    sweep = cluster.sweep("plain")
    sweep.end()
    assert_as_undisturbed(sweep.folder, alone)
    assert redone(sweep.folder) == 0
    assert nodes(sweep.folder) == set(WORKERS)
    record(steps=STEPS)


def test_a_node_with_other_sources_is_refused_by_name_and_nothing_runs(whole):
    path = "~/mia-study/study/work.py"
    two = whole.hosts["two"]
    two.run(f"cp {path} /tmp/kept && echo '# another' >> {path}")
    sweep = whole.sweep("other")
    printed = sweep.end(REFUSED)
    two.run(f"cp /tmp/kept {path}")
    (line,) = (line for line in printed.splitlines() if line.startswith("refused: "))
    assert "node 10.77.0.12 (two) has source" in line
    assert not list((sweep.folder / "results").rglob("done/*.json"))


def test_what_trials_share_goes_to_each_node_once(whole, record):
    script = (Path(__file__).parent / "shared_data.py").relative_to(PROJECT)
    before = [worker.received_bytes() for worker in whole.workers]
    printed = whole.head.run(f"cd mia-study && RAY_ADDRESS=auto python {script}")
    size, trials = map(int, re.search(r"bytes (\d+) trials (\d+)", printed).groups())
    received = [worker.received_bytes() - old for worker, old in zip(whole.workers, before, strict=True)]
    record(megabytes=size >> 20, trials=trials, received=[count >> 20 for count in received])
    for count in received:
        assert 0.95 * size < count < 1.5 * size


def test_fault_3_a_worker_host_is_off_and_comes_back(whole, alone, record):
    sweep = whole.sweep("off")
    assert sweep.begun(EARLY)
    one = whole.hosts["one"]
    one.unplug()
    one.power_off()
    time.sleep(BACK)
    one.plug()
    one.power_on()
    sweep.end()
    assert_as_undisturbed(sweep.folder, alone)
    assert 0 < redone(sweep.folder) <= TRAJECTORIES * STEPS_PER_EPOCH
    whole.complete()
    record(redone=redone(sweep.folder))


def test_fault_4_a_partition_that_heals_doubles_no_result(whole, alone, record):
    sweep = whole.sweep("partition")
    assert sweep.begun(EARLY)
    one = whole.hosts["one"]
    one.unplug()
    time.sleep(BACK)
    one.plug()
    sweep.end()
    assert_as_undisturbed(sweep.folder, alone)
    record(redone=redone(sweep.folder), begun_there=lines(sweep.folder / "steps"))


def test_fault_20_nobody_without_the_token_gets_in(whole):
    code = "import ray; ray.init(address='10.77.0.10:6379', logging_level='ERROR'); print('in', len(ray.nodes()))"
    laptop = whole.laptop
    assert "in 3" in laptop.run(f'python -c "{code}"', RAY_AUTH_MODE="token", code=None) or True
    laptop.run("mv .ray/auth_token .ray/kept")
    try:
        for mode, token in (("", ""), ("token", "0" * 64)):
            printed = laptop.run(f'python -c "{code}"', code=None, RAY_AUTH_MODE=mode, RAY_AUTH_TOKEN=token)
            assert "in 3" not in printed
    finally:
        laptop.run("mv .ray/kept .ray/auth_token")

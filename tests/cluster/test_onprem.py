"""Three hosts, `ray up`, sweeps over them; faults 3, 4, 5, 18 and 20. One cluster, tests in order, the last ends it.

Each sweep must end with the store of one on a single machine: the same rows and bits, whatever happened.
"""

import json
import re
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from mia_core.batches import steps_of
from study.outcomes import REFUSED
from study.store import read
from tests.cluster.onprem import EPOCHS, FILE, SECRET_KEY, STORAGE, STORAGE_PORT, WORKERS, lines, shown
from tests.faults.faulty import PROJECT, STEPS_PER_EPOCH, assert_as_undisturbed

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
TRAJECTORIES = 4
STEPS = TRAJECTORIES * steps_of(EPOCHS, 40, 16)
EARLY = STEPS // 4
DOCUMENT = (PROJECT / "docs" / "cluster.md").read_text(encoding="utf-8")
(SERVER,) = re.findall(r"'(cd ~/mia-study && MLFLOW_.*mlflow server .*)'", DOCUMENT)
(SERVER_END,) = re.findall(r'"(pkill .*)"', DOCUMENT)
(TUNNEL,) = re.findall(r"ssh -N .*mia@HEAD", DOCUMENT)
BACK = 15.0
"""Seconds without a host, or without its network."""


@pytest.fixture
def whole(cluster):
    """The cluster with all its workers, however the test before left it."""
    cluster.complete()
    return cluster


def redone(folder):
    """Training steps begun more than once, after checking that each was begun."""
    begun = (folder / "steps").read_text().splitlines()
    assert len(set(begun)) == STEPS
    return len(begun) - STEPS


def trials(sweep):
    return read(sweep.folder / "results", "small", "trials")


def firewall():
    """The rules that the file tells a user to set, with these hosts' addresses."""
    text = (PROJECT / FILE).read_text(encoding="utf-8").replace("192.0.2.", "10.77.0.")
    return re.findall(r"#\s+(iptables .+)", text)


def reached(stranger, host):
    """Ports of a host that another one can connect to, of those that anything there listens on."""
    ports = sorted({int(address.rsplit(":", 1)[1]) for address in host.listening()})
    tried = "; ".join(f"timeout 2 bash -c ': < /dev/tcp/{host.address}/{port}' && echo open {port}" for port in ports)
    return {int(port) for port in re.findall(r"open (\d+)", stranger.run(f"({tried}; true) 2> /dev/null"))}


def test_ray_up_starts_every_worker_and_a_sweep_uses_them_all(cluster, alone, record):
    sweep = cluster.sweep("plain")
    sweep.end()
    assert_as_undisturbed(sweep.folder, alone)
    assert redone(sweep.folder) == 0
    assert {json.loads(text)["node"] for text in trials(sweep)["versions"]} == set(WORKERS)
    study = f"{shown(sweep.folder)}/faulty.yaml --address auto --set results={shown(sweep.folder)}/results"
    printed = cluster.laptop.run(f"cd mia-study && ray submit {FILE} study/sweep.py -- {study}")
    assert "complete:" in printed
    assert redone(sweep.folder) == 0
    record(steps=STEPS)


def test_a_node_with_other_sources_is_refused_by_name_and_nothing_runs(whole):
    path = "~/mia-study/study/design/work.py"
    two = whole.hosts["two"]
    two.run(f"cp {path} /tmp/kept && echo '# another' >> {path}")
    sweep = whole.sweep("other")
    printed = sweep.end(REFUSED)
    two.run(f"cp /tmp/kept {path}")
    (line,) = (line for line in printed.splitlines() if "refused: " in line)
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


@pytest.fixture
def storage(whole):
    """A host with an object store and an empty bucket."""
    host = whole.network.host("storage", STORAGE)
    serve = f"~/mia-study/.venv/bin/python -m tests.object_store --listen {STORAGE}:{STORAGE_PORT}"
    host.start(f"cd {PROJECT} && {serve}", subprocess.DEVNULL, PYTHONPATH=str(PROJECT))
    host.run(f"until ss -Hltn | grep -q {STORAGE}:{STORAGE_PORT}; do sleep 0.2; done")
    whole.laptop.run("cd mia-study && python -m tests.cluster.bucket")
    yield host
    host.power_off()


@pytest.fixture
def newcomers(whole):
    """Two hosts that are not of the cluster yet, and are gone after the test."""
    hosts = [whole.prepare(name, address) for name, address in (("early", "10.77.0.13"), ("late", "10.77.0.14"))]
    yield hosts
    for host in hosts:
        host.power_off()


def test_a_host_that_joins_late_takes_work_on_shares_of_its_gpus_and_results_go_to_a_bucket(
    whole, alone, storage, newcomers, record
):
    early, late = newcomers
    whole.join(early, cpus=1, gpus=1)
    given = ("--set results=s3://studies/results", "--set compute.gpus_per_trial=0.5")
    sweep = whole.sweep("bucket", *given, step_seconds=30 / (EPOCHS * STEPS_PER_EPOCH))  # a trajectory: 30 s
    assert sweep.begun(1)
    whole.join(late, cpus=2, gpus=2)
    whole.complete(early, late)
    sweep.end()
    whole.laptop.run(f"cd mia-study && python -m tests.cluster.bucket {shown(sweep.folder)}")
    assert_as_undisturbed(sweep.folder, alone)
    assert redone(sweep.folder) == 0
    for path in sweep.folder.rglob("*"):
        assert not path.is_file() or SECRET_KEY.encode() not in path.read_bytes()
    rows = trials(sweep)
    assert set(rows["device"]) == {"cpu"}  # torch sees none of these GPUs
    ran_on = dict(zip(rows["trajectory_id"], (json.loads(text)["node"] for text in rows["versions"]), strict=True))
    saw = {"early": set(), "late": set()}  # neither head nor workers without GPUs
    for line in (sweep.folder / "steps.devices").read_text().splitlines():
        trajectory, _, device, share = line.split()
        assert share == "0.5"
        saw[ran_on[trajectory]].add(device)
    assert saw["early"] == {"0"}
    assert set() < saw["late"] <= {"0", "1"}
    record(ran_on=Counter(ran_on.values()), saw=saw)


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


def test_fault_20_only_the_token_opens_ray(whole):
    ask = "ray status --address 10.77.0.10:6379"
    laptop = whole.laptop
    assert "local.cluster.node" in laptop.run(ask, RAY_AUTH_MODE="token")
    laptop.run("mv .ray/auth_token .ray/kept")
    try:
        for given in ({}, {"RAY_AUTH_MODE": "token"}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}):
            printed = laptop.run(f"! {ask}", **given)
            assert "local.cluster.node" not in printed
    finally:
        laptop.run("mv .ray/kept .ray/auth_token")
    secret = (whole.network.keys / "token").read_text().strip()
    for path in whole.network.results.rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes()


def test_fault_20_behind_the_files_firewall_strangers_reach_ssh_only_and_the_tunnel_shows_mlflow(whole, alone, record):
    stranger = whole.network.host("stranger", "10.77.0.66")
    hosts = [whole.head, *whole.workers]
    whole.laptop.run(f"cd mia-study && ray exec {FILE} '{SERVER}'")
    whole.head.run("until ss -Hltn | grep -q 127.0.0.1:5000; do sleep 0.5; done")
    before = {host.name: reached(stranger, host) for host in hosts}
    assert 6379 in before["head"]  # whoever has the token gets in from anywhere; Ray cannot be told another address
    assert 5000 not in before["head"]
    assert 8265 not in before["head"]
    for host in hosts:
        for line in firewall():
            host.run(line)
    assert {host.name: reached(stranger, host) for host in hosts} == {host.name: {22} for host in hosts}

    sweep = whole.sweep("tracked", "--set tracking=http://127.0.0.1:5000")
    sweep.end()
    assert_as_undisturbed(sweep.folder, alone)
    whole.laptop.run(f"{TUNNEL.replace('mia@HEAD', 'root@10.77.0.10')} -f -o StrictHostKeyChecking=no")
    printed = whole.laptop.run(f"cd mia-study && python -m tests.cluster.mlflow_through_a_tunnel {len(trials(sweep))}")
    whole.laptop.run(f"""cd mia-study && ray exec {FILE} "{SERVER_END}" """)
    record(reached_before=before, mlflow=printed.splitlines()[-1])


def test_fault_5_the_head_is_lost_and_a_new_one_goes_on(whole, alone, record):
    sweep = whole.sweep("head")
    assert sweep.begun(EARLY)
    head = whole.head
    head.unplug()
    head.replace()
    head.plug()
    head.power_on()
    sweep.end(1)
    done = sum(1 for _ in sweep.folder.glob("results/small/done/[!.]*"))
    whole.down()
    for worker in whole.workers:
        assert worker.processes() == []
    seconds = whole.up()
    again = whole.sweep("head")
    again.end()
    assert_as_undisturbed(again.folder, alone)
    assert redone(again.folder) <= TRAJECTORIES * STEPS_PER_EPOCH
    record(done_before=done, redone=redone(again.folder), up_seconds=round(seconds))


def test_down_amid_a_sweep_and_with_mlflow_leaves_nothing_on_any_host(whole):
    whole.laptop.run(f"cd mia-study && ray exec {FILE} '{SERVER}'")
    sweep = whole.sweep("down", "--set tracking=http://127.0.0.1:5000")
    assert sweep.begun(1)
    whole.down()
    sweep.end(1)
    for host in (whole.head, *whole.workers):
        assert host.processes() == []
        assert host.listening() == {f"{host.address}:22"}
        left = host.run("ls -A /dev/shm; ls -d /tmp/ray ~/ray_bootstrap* 2> /dev/null || true")
        assert left == ""
    assert whole.hosts["head"].run("ls .ray mia-study/README.md").split() == [
        "mia-study/README.md",
        ".ray:",
        "auth_token",
    ]

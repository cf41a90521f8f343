"""What a user does with the cluster of configs/clusters/onprem.yaml, on hosts that share a folder for results."""

import json
import time

from study.spec import documents
from study.spec.overrides import override
from tests.faults.faulty import PATIENCE, PROJECT, SETTINGS, wait_for
from tests.small import SMALL

ADDRESSES = {"laptop": "10.77.0.2", "head": "10.77.0.10", "one": "10.77.0.11", "two": "10.77.0.12"}
WORKERS = ("one", "two")
EPOCHS = 60
OVERRIDES = (*SETTINGS, "replicates=2", f"factors.epochs=[1, {EPOCHS}]", "compute.concurrent=null")
FILE = "configs/clusters/onprem.yaml"
COPIED = "--exclude .git --exclude .venv --exclude results --exclude '__pycache__' --exclude '.*_cache'"
STORAGE, STORAGE_PORT = "10.77.0.30", 9000
SECRET_KEY = "not-to-be-seen-anywhere"
AWS = {
    "config": f"[default]\nregion = us-east-1\nendpoint_url = http://{STORAGE}:{STORAGE_PORT}\n",
    "credentials": f"[default]\naws_access_key_id = nobody\naws_secret_access_key = {SECRET_KEY}\n",
}
"""What leads to the bucket, as a user keeps it: in ~/.aws, which the cluster's file delivers."""
AWAIT = """
import ray, sys, time
ray.init(address="auto", logging_level="ERROR")
while True:
    alive = sorted(node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"])
    if alive == sys.argv[1:]:
        break
    time.sleep(0.5)
"""


def equip(network):
    """What the head of the cluster's file tells a user to do once, on the laptop."""
    laptop = network.hosts["laptop"]
    variables = "PATH=~/mia-study/.venv/bin:$PATH RAY_USAGE_STATS_ENABLED=0"
    laptop.run(f"rsync -a {COPIED} {PROJECT}/ mia-study/ && echo 'export {variables}' > .bashrc")
    laptop.run(f"cp {network.keys}/user .ssh/mia-study.pem && chmod 600 .ssh/mia-study.pem")
    laptop.run(f"umask 077 && ray get-auth-token --generate > {network.keys}/token")
    write_aws(laptop)
    text = (PROJECT / FILE).read_text().replace("192.0.2.", "10.77.0.").replace("ssh_user: mia", "ssh_user: root")
    text = text.replace("# ~/.aws: ~/.aws  for", "~/.aws: ~/.aws  # for")
    lines = [
        "  - test -x ~/mia-study/.venv/bin/ray" if "pip install -q" in line else line for line in text.splitlines()
    ]
    (network.keys / "onprem.yaml").write_text("\n".join(lines))
    laptop.run(f"cp {network.keys}/onprem.yaml mia-study/{FILE}")


def write_aws(host):
    host.run("mkdir -p -m 700 .aws")
    for name, text in AWS.items():
        host.run(f"printf %s '{text}' > .aws/{name} && chmod 600 .aws/{name}")


class Cluster:
    """What a user does with it, from the laptop."""

    def __init__(self, network):
        self.hosts = network.hosts
        self.network = network
        self.laptop, self.head = network.hosts["laptop"], network.hosts["head"]
        self.workers = [network.hosts[name] for name in WORKERS]

    def up(self):
        """`ray up`; how many seconds until all workers are there."""
        started = time.monotonic()
        self.laptop.run(f"cd mia-study && mia-study cluster check {FILE}")
        self.laptop.run(f"cd mia-study && ray up -y --no-config-cache {FILE}", seconds=PATIENCE)
        self.complete()
        return time.monotonic() - started

    def down(self, code=0):
        """End it; what was said."""
        return self.laptop.run(f"cd mia-study && mia-study cluster down {FILE}", code, seconds=PATIENCE)

    def complete(self, *more):
        """Wait until head and workers are alive, as many as the file has, and hosts that joined, and no others."""
        addresses = " ".join(sorted([ADDRESSES[name] for name in ("head", *WORKERS)] + [host.address for host in more]))
        self.head.run(f"python -c '{AWAIT}' {addresses}", seconds=PATIENCE)

    def prepare(self, name, address):
        """A new host with the project, the token and what leads to the bucket, which is not of the cluster yet."""
        host = self.network.host(name, address)
        host.run(f"rsync -a {COPIED} {PROJECT}/ mia-study/ && echo 'export PATH=~/mia-study/.venv/bin:$PATH' > .bashrc")
        host.run(f"mkdir -m 700 .ray && install -m 600 {self.network.keys}/token .ray/auth_token")
        write_aws(host)
        return host

    def join(self, host, cpus, gpus):
        """By the command for a cluster that a user brings; with GPUs that are not there."""
        start = f"ray start --address={ADDRESSES['head']}:6379 --num-cpus={cpus} --num-gpus={gpus}"
        host.run(start, RAY_AUTH_MODE="token", RAY_USAGE_STATS_ENABLED="0")

    def sweep(self, name, *arguments, step_seconds=0.0):
        """A sweep's start through `ray exec`, in a folder of its own; step_seconds: that each training step waits."""
        return ClusterSweep(self, name, arguments, step_seconds)


class ClusterSweep:
    """One start of a sweep over the cluster. Its folder is on the storage that hosts share."""

    def __init__(self, cluster, name, arguments, step_seconds):
        self.folder = sweep_folder(cluster.network, name)
        self.log = (self.folder / "log").open("w+")
        counted = f"STEPS={steps_file(self.folder)['STEPS']} STEP_SECONDS={step_seconds} {command(self.folder)}"
        words = " ".join([f"cd {shown(self.folder)} && {counted}", "--address auto", *arguments])
        self.process = cluster.laptop.start(f"cd mia-study && ray exec {FILE} '{words}'", self.log)

    def end(self, code=0):
        """Wait for its end; what it printed."""
        self.process.wait(PATIENCE)
        self.log.seek(0)
        printed = self.log.read()
        self.log.close()
        assert (self.process.returncode == 0) == (code == 0), printed
        return printed

    def begun(self, count):
        """Wait until so many training steps more have begun; whether it came to that before its end."""
        path = self.folder / "steps"
        before = lines(path)
        return bool(wait_for(lambda: lines(path) >= before + count, self, pause=0.02))


def sweep_folder(network, name):
    """A folder that all hosts share, with the study's file; made when it is not there."""
    folder = network.results / name
    if not folder.is_dir():
        folder.mkdir()
        document = documents.parse(SMALL, "small")
        for setting in OVERRIDES:
            override(document, setting)
        (folder / "faulty.yaml").write_text(json.dumps(document))
    return folder


def shown(folder):
    """Where hosts see it."""
    return f"/mnt/results/{folder.name}"


def steps_file(folder):
    return {"STEPS": f"{shown(folder)}/steps"}


def command(folder):
    return f"python -m tests.faults.counted faulty.yaml --set results={shown(folder)}/results"


def lines(path):
    return path.read_bytes().count(b"\n") if path.is_file() else 0

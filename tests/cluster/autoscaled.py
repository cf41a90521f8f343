"""On a host of its own: a head without resources, types of nodes with and without a GPU, a sweep, and who was there."""

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import ray
from ray.cluster_utils import AutoscalingCluster

TYPES = {
    "cpu": {"resources": {"CPU": 2}, "node_config": {}, "min_workers": 0, "max_workers": 2},
    "gpu": {"resources": {"CPU": 2, "GPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2},
}
SWEEP = "study.sweep faulty.yaml --address auto --set results=results --set compute.gpus_per_trial=0.5"


def workers():
    """Living nodes by type, without the head."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return Counter("gpu" if "GPU" in resources else "cpu" for resources in alive if resources.get("CPU"))


def until(true, seconds):
    """Wait for something, so long at most; what there was last."""
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.5)
    return dict(workers())


if __name__ == "__main__":
    cluster = AutoscalingCluster({"CPU": 0}, TYPES, autoscaler_v2=True)
    bootstrap = Path("~/ray_bootstrap_config.yaml").expanduser()  # as `ray up` leaves it on a head
    bootstrap.write_text(json.dumps(cluster._config))
    cluster.start()
    ray.init(address="auto", logging_level="ERROR", log_to_driver=False)
    before, most = dict(workers()), Counter()
    started = time.monotonic()
    with Path("log").open("w") as log:
        sweep = subprocess.Popen([sys.executable, "-m", *SWEEP.split()], stdout=log, stderr=log)
    while sweep.poll() is None:
        most |= workers()
        time.sleep(0.2)
    after = until(lambda: not workers(), 180)
    seen = {"before": before, "most": most, "after": after, "code": sweep.returncode}
    print(json.dumps(seen | {"seconds": round(time.monotonic() - started)}))

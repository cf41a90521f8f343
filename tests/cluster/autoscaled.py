"""On a host of its own: a head without resources, types of nodes with and without a GPU, a sweep, and who was there."""

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import ray
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID
from ray.cluster_utils import AutoscalingCluster

TYPES = {
    "cpu": {"resources": {"CPU": 2}, "node_config": {}, "min_workers": 0, "max_workers": 2},
    "gpu": {"resources": {"CPU": 2, "GPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2},
}
HEAD = "ray.head.default"
SWEEP = "study.sweep faulty.yaml --address auto --set results=results"


class Cluster(AutoscalingCluster):
    """Ray's own, with the file that its package lacks."""

    def _generate_config(self, head_resources, worker_node_types, autoscaler_v2=False, **settings):
        head = {"resources": head_resources, "node_config": {}, "max_workers": 0}
        return {
            "cluster_name": "fake",
            "max_workers": 4,
            "upscaling_speed": 1.0,
            "provider": {
                "type": "fake_multinode",
                "use_node_id_as_ip": True,
                "disable_node_updaters": True,
                "disable_launch_config_check": True,
                "launch_multiple": True,
                "head_node_id": FAKE_HEAD_NODE_ID,
            },
            "available_node_types": {**worker_node_types, HEAD: head},
            "head_node_type": HEAD,
            "auth": {},
            "docker": {},
            "file_mounts": {},
            "cluster_synced_files": [],
            "file_mounts_sync_continuously": False,
            "rsync_exclude": [],
            "rsync_filter": [],
            "initialization_commands": [],
            "setup_commands": [],
            "head_setup_commands": [],
            "worker_setup_commands": [],
            "head_start_ray_commands": [],
            "worker_start_ray_commands": [],
            **settings,
        }


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
    cluster = Cluster({"CPU": 0}, TYPES, autoscaler_v2=True, idle_timeout_minutes=0.1)
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

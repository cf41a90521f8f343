"""The cluster files, what Ray starts for them, and which of them a test is of."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil

PROJECT = Path(__file__).parents[2]
FILES = {"aws": "cluster.yaml", "gcp": "configs/clusters/gcp.yaml", "onprem": "configs/clusters/onprem.yaml"}
TEXTS = {kind: (PROJECT / name).read_text(encoding="utf-8") for kind, name in FILES.items()}
TEXT = TEXTS["aws"]
WORKERS = ("gpu_spot", "gpu_on_demand")
TYPES = ("head", *WORKERS)

every = pytest.mark.parametrize("kind", FILES, indirect=True)
rented = pytest.mark.parametrize("kind", ("aws", "gcp"), indirect=True)
own = pytest.mark.parametrize("kind", ("onprem",), indirect=True)
"""Tests that name none of these are of cluster.yaml."""

OWN_HEAD = {
    "RAY_enable_autoscaler_v2": "0", "RAY_health_check_period_ms": "1000", "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}  # fmt: skip
"""Version 2 of Ray 2.60 starts one worker too few; a host that is off is noticed in seconds."""


def ray_start(config: dict[str, Any], node: str) -> tuple[dict[str, str], list[str]]:
    """Environment and arguments of the one `ray start` of `head` or `worker`."""
    commands = [part for line in config[f"{node}_start_ray_commands"] for part in line.split(";")]
    (words,) = (words for words in map(shlex.split, commands) if "start" in words)
    begin = words.index("ray")
    assert words[begin + 1] == "start"
    return dict(word.split("=", 1) for word in words[:begin]), words[begin + 2 :]


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.items():
            yield from strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from strings(item)
    elif isinstance(value, str):
        yield value


def mappings(node: yaml.Node) -> Iterator[yaml.MappingNode]:
    if isinstance(node, yaml.MappingNode):
        yield node
        for _, value in node.value:
            yield from mappings(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from mappings(value)


def launches(
    written: dict[str, Any], key: Path, demands: int, failed: tuple[str, ...] = (), resource: str = "GPU"
) -> dict[str, int]:
    """What Ray's autoscaler starts for so many tasks, after launches of some types have failed."""
    key.write_text("hashed by Ray, not used")
    autoscaling = AutoscalingConfig(
        {**written, "auth": {**written["auth"], "ssh_private_key": str(key)}}, skip_content_hash=True
    )
    available = dict.fromkeys(failed, 0.0)
    reply = ResourceDemandScheduler(None).schedule(
        SchedulingRequest(
            disable_launch_config_check=True,
            node_type_configs=autoscaling.get_node_type_configs(),
            max_num_nodes=autoscaling.get_max_num_worker_nodes(),
            resource_requests=ResourceRequestUtil.group_by_count([ResourceRequestUtil.make({resource: 1})] * demands),
            cloud_resource_availabilities=available,
            recoverable_resource_availabilities=available,
        )
    )
    return {launch.instance_type: launch.count for launch in reply.to_launch}

"""Which nodes a cluster starts, in which order, and what is left of them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray._private.resource_and_label_spec import ResourceAndLabelSpec

from tests.cluster_files.files import OWN_HEAD, TEXTS, TYPES, WORKERS, every, launches, own, ray_start, rented


@own
def test_the_head_of_own_hosts_starts_every_worker_takes_no_work_and_notices_a_lost_one(config: dict[str, Any]) -> None:
    environment, arguments = ray_start(config, "head")
    assert OWN_HEAD.items() <= environment.items()
    assert {"--num-cpus=0", "--num-gpus=0"} <= set(arguments)
    assert config["max_workers"] == len(config["provider"]["worker_ips"])


@rented
def test_the_head_takes_no_work(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    head = config["available_node_types"]["head"]
    assert head["resources"] == {"CPU": 0, "GPU": 0}
    assert head["max_workers"] == 0
    _, arguments = ray_start(config, "head")
    assert not any(word.startswith(("--num-cpus", "--num-gpus", "--resources")) for word in arguments)
    # Ray takes the zeros as said, not as "detect".
    monkeypatch.setenv("RAY_OVERRIDE_RESOURCES", json.dumps(head["resources"]))
    resolved = ResourceAndLabelSpec().resolve(is_head=True, node_ip_address="127.0.0.1")
    assert (resolved.num_cpus, resolved.num_gpus) == (0, 0)


@rented
def test_the_head_is_small_and_on_demand(config: dict[str, Any]) -> None:
    node = config["available_node_types"]["head"]["node_config"]
    assert "InstanceMarketOptions" not in node
    assert "provisioningModel" not in node.get("scheduling", {})
    assert node.get("InstanceType", node.get("machineType")) in ("m7i.large", "e2-standard-2")


@every
def test_the_head_starts_the_autoscaler(config: dict[str, Any]) -> None:
    _, arguments = ray_start(config, "head")
    assert {"--head", "--autoscaling-config=~/ray_bootstrap_config.yaml"} <= set(arguments)


@rented
def test_workers_start_from_zero(written: dict[str, Any], config: dict[str, Any], tmp_path: Path) -> None:
    for name in TYPES:
        assert written["available_node_types"][name]["min_workers"] == 0
    assert launches(config, tmp_path / "key", demands=0) == {}


@rented
@pytest.mark.parametrize("resource", ["GPU", "CPU"])
def test_a_task_starts_a_spot_worker_and_never_the_head(config: dict[str, Any], tmp_path: Path, resource: str) -> None:
    assert launches(config, tmp_path / "key", demands=1, resource=resource) == {"gpu_spot": 1}


@rented
def test_spot_workers_are_used_up_before_on_demand_ones_and_the_total_is_bounded(
    config: dict[str, Any], tmp_path: Path
) -> None:
    assert launches(config, tmp_path / "key", demands=100) == {"gpu_spot": config["max_workers"]}


@rented
def test_on_demand_workers_take_over_where_spot_launches_fail(config: dict[str, Any], tmp_path: Path) -> None:
    started = launches(config, tmp_path / "key", demands=100, failed=("gpu_spot",))
    assert started == {"gpu_on_demand": config["max_workers"]}


def test_the_spot_type_comes_first_and_differs_from_the_on_demand_type_in_the_market_only(
    config: dict[str, Any],
) -> None:
    spot, on_demand = (config["available_node_types"][name] for name in WORKERS)
    assert tuple(config["available_node_types"])[1:] == WORKERS
    assert spot["priority"] > on_demand["priority"]
    assert spot["resources"] == on_demand["resources"]
    assert spot["resources"]["GPU"] >= 1
    market = spot["node_config"]["InstanceMarketOptions"]
    assert market["MarketType"] == "spot"
    assert spot["node_config"] == {**on_demand["node_config"], "InstanceMarketOptions": market}
    assert "InstanceMarketOptions" not in on_demand["node_config"]


def test_on_gcp_too_the_spot_type_comes_first_and_differs_in_the_market_only() -> None:
    spot, on_demand = (yaml.safe_load(TEXTS["gcp"])["available_node_types"][name] for name in WORKERS)
    assert spot["priority"] > on_demand["priority"]
    assert spot["resources"] == on_demand["resources"] == {"CPU": 4, "GPU": 1}
    market = spot["node_config"].pop("scheduling")
    assert market["provisioningModel"] == "SPOT"
    assert market["instanceTerminationAction"] == "DELETE"
    assert "provisioningModel" not in on_demand["node_config"].pop("scheduling")
    assert spot["node_config"] == on_demand["node_config"]


def test_nodes_may_start_in_several_zones_of_the_region(config: dict[str, Any]) -> None:
    zones = config["provider"]["availability_zone"].split(",")
    assert len(set(zones)) >= 2
    for zone in zones:
        assert re.fullmatch(re.escape(config["provider"]["region"]) + "[a-z]", zone)


def test_on_gcp_no_stopped_machine_or_disk_is_kept_and_no_key_of_the_project_opens_one() -> None:
    config = yaml.safe_load(TEXTS["gcp"])
    assert config["provider"]["cache_stopped_nodes"] is False
    for node in config["available_node_types"].values():
        assert [disk["autoDelete"] for disk in node["node_config"]["disks"]] == [True]
        keys = {item["key"]: item["value"] for item in node["node_config"]["metadata"]["items"]}
        assert keys["block-project-ssh-keys"] == "true"
        assert keys["ssh-keys"].startswith("mia:ssh-ed25519 ")


def test_no_stopped_instance_or_disk_is_kept_to_bill(config: dict[str, Any]) -> None:
    assert config["provider"]["cache_stopped_nodes"] is False
    for name in TYPES:
        node = config["available_node_types"][name]["node_config"]
        assert node["InstanceInitiatedShutdownBehavior"] == "terminate"
        assert [disk["Ebs"]["DeleteOnTermination"] for disk in node["BlockDeviceMappings"]] == [True]
    spot = config["available_node_types"]["gpu_spot"]["node_config"]["InstanceMarketOptions"]["SpotOptions"]
    assert spot == {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}


@rented
def test_idle_workers_are_ended(config: dict[str, Any]) -> None:
    assert 0 < config["idle_timeout_minutes"] <= 10

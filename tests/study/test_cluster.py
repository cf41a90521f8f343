"""Cluster files: Ray's own validator and scheduler accept them, and every unsafe default is overridden."""

import copy
import json
import re
import shlex
import socket
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import ray.autoscaler
import yaml
from jsonschema import ValidationError
from packaging.requirements import Requirement
from packaging.version import Version
from ray._private.authentication.authentication_token_setup import _get_default_token_path
from ray._private.resource_and_label_spec import ResourceAndLabelSpec
from ray.autoscaler._private.util import prepare_config, validate_config
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


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    """The provider whose file is tried."""
    return getattr(request, "param", "aws")


@pytest.fixture
def text(kind: str) -> str:
    """The file, head and all."""
    return TEXTS[kind]


@pytest.fixture
def written(text: str) -> dict[str, Any]:
    """The file, as `ray up` reads it."""
    return yaml.safe_load(text)


@pytest.fixture
def config(written: dict[str, Any]) -> dict[str, Any]:
    """The file with Ray's defaults filled in: what a cluster gets."""
    prepared = prepare_config(copy.deepcopy(written))
    validate_config(prepared)
    return prepared


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


@every
def test_rays_validator_accepts_the_file_without_network_or_credentials(
    written: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("the network was used")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE",
                 "GOOGLE_APPLICATION_CREDENTIALS"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    prepared = prepare_config(written)
    validate_config(prepared)
    if kind != "onprem":  # there Ray makes one type up
        assert tuple(prepared["available_node_types"]) == TYPES
        assert prepared["head_node_type"] == "head"


@pytest.mark.parametrize(
    ("path", "broken"),
    [
        (("max_workers",), "four"),
        (("provider", "cache_stopped_nodes"), "no"),
        (("docker", "image"), ["rayproject/ray"]),
        (("available_node_types", "gpu_spot", "resources", "GPU"), "1"),
        (("available_node_types", "gpu_on_demand", "min_workers"), 0.5),
        (("head_start_ray_commands",), "ray start --head"),
        (("file_mounts",), ["."]),
    ],
)
def test_rays_validator_refuses_a_known_key_of_the_wrong_type(
    config: dict[str, Any], path: tuple[str, ...], broken: Any
) -> None:
    holder = config
    for key in path[:-1]:
        holder = holder[key]
    assert path[-1] in holder
    holder[path[-1]] = broken
    with pytest.raises(ValidationError) as refusal:
        validate_config(config)
    assert tuple(refusal.value.absolute_path) == path


@every
def test_rays_validator_refuses_a_misspelt_top_level_key(config: dict[str, Any]) -> None:
    config["setup_comands"] = config.pop("setup_commands")
    with pytest.raises(ValidationError, match="setup_comands"):
        validate_config(config)


@every
def test_no_key_is_given_twice_since_yaml_would_take_the_last(text: str) -> None:
    for mapping in mappings(yaml.compose(text, yaml.SafeLoader)):
        keys = [key.value for key, _ in mapping.value]
        assert len(keys) == len(set(keys)), f"line {mapping.start_mark.line + 1}: {keys}"


@rented
def test_no_top_level_or_provider_key_is_left_to_rays_defaults(written: dict[str, Any], kind: str) -> None:
    defaults = yaml.safe_load((Path(ray.autoscaler.__file__).parent / kind / "defaults.yaml").read_text())
    assert set(defaults) <= set(written)
    assert set(defaults["provider"]) <= set(written["provider"])
    assert set(defaults["auth"]) <= set(written["auth"])


PROVIDERS = {
    "aws": {"type": "aws", "region": "us-west-2", "availability_zone": "us-west-2a,us-west-2b,us-west-2c",
            "use_internal_ips": False, "cache_stopped_nodes": False},
    "gcp": {"type": "gcp", "region": "us-west1", "availability_zone": "us-west1-a",
            "project_id": "my-project-123456", "cache_stopped_nodes": False},
    "onprem": {"type": "local", "head_ip": "192.0.2.10", "worker_ips": ["192.0.2.11", "192.0.2.12"]},
}  # fmt: skip


@every
def test_provider_has_only_keys_that_rays_provider_reads(written: dict[str, Any], kind: str) -> None:
    # Ray's schema accepts any key here, so a typo would leave a default in force.
    assert written["provider"] == PROVIDERS[kind]


@every
def test_nothing_is_open_to_all_addresses(config: dict[str, Any], text: str) -> None:
    for words in (text, *strings(config)):
        assert "0.0.0.0" not in words
        assert not re.search(r"(?<![\w:])::(?!\w)", words)


@every
def test_every_address_is_a_private_or_documentation_placeholder(text: str) -> None:
    found = re.findall(r"(?<![\d.])\d+(?:\.\d+){3}(?:/\d+)?", text)
    assert set(found) - {"127.0.0.1"}
    for words in found:
        assert ip_network(words).is_private
        assert ip_network(words).prefixlen >= 24


def test_every_node_is_in_the_users_own_security_group_and_ray_makes_none(config: dict[str, Any]) -> None:
    # Ray's own group admits SSH from everywhere; provider.security_group adds rules to that one.
    assert "security_group" not in config["provider"]
    groups = {tuple(config["available_node_types"][name]["node_config"]["SecurityGroupIds"]) for name in TYPES}
    ((group,),) = groups
    assert re.fullmatch(r"sg-[0-9a-f]{17}", group)
    assert not any("NetworkInterfaces" in kind["node_config"] for kind in config["available_node_types"].values())


def test_the_security_group_told_to_make_admits_ssh_from_the_user_and_the_nodes_only(config: dict[str, Any]) -> None:
    given = []
    for words in re.findall(r"authorize-security-group-ingress (.+)", TEXT):
        options = dict(zip(words.split()[::2], words.split()[1::2], strict=True))
        group = options.pop("--group-id")
        assert [group] == config["available_node_types"]["head"]["node_config"]["SecurityGroupIds"]
        given.append({key: "this group" if value == group else value for key, value in options.items()})
    assert given == [
        {"--protocol": "tcp", "--port": "22", "--cidr": "203.0.113.7/32"},
        {"--protocol": "all", "--source-group": "this group"},
    ]


def test_the_firewall_told_to_make_on_gcp_admits_ssh_from_the_user_and_the_nodes_only() -> None:
    rules = re.findall(r"firewall-rules create (\S+) (.+)", TEXTS["gcp"])
    assert [options.split() for _, options in rules] == [
        ["--network=mia-study", "--allow=tcp:22", "--source-ranges=203.0.113.7/32"],
        ["--network=mia-study", "--allow=all", "--source-tags=mia-study", "--target-tags=mia-study"],
    ]
    for node in yaml.safe_load(TEXTS["gcp"])["available_node_types"].values():
        (interface,) = node["node_config"]["networkInterfaces"]
        assert interface["network"].endswith("/networks/mia-study")  # `default` admits SSH from everywhere
        assert node["node_config"]["tags"] == {"items": ["mia-study"]}


def test_the_firewall_told_to_set_on_own_hosts_admits_ssh_and_the_clusters_hosts_only() -> None:
    provider = yaml.safe_load(TEXTS["onprem"])["provider"]
    assert re.findall(r"#\s+iptables (.+)", TEXTS["onprem"]) == [
        "-A INPUT -i lo -j ACCEPT",
        "-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
        "-A INPUT -p tcp --dport 22 -j ACCEPT",
        f"-A INPUT -s {','.join([provider['head_ip'], *provider['worker_ips']])} -j ACCEPT",
        "-P INPUT DROP",
    ]


@every
def test_the_dashboard_listens_on_loopback_only(config: dict[str, Any]) -> None:
    _, arguments = ray_start(config, "head")
    assert [word for word in arguments if word.startswith("--dashboard-host")] == ["--dashboard-host=127.0.0.1"]
    assert "ray dashboard cluster.yaml" in TEXT


@every
@pytest.mark.parametrize("node", ["head", "worker"])
def test_ray_starts_with_token_authentication_and_without_usage_statistics(
    config: dict[str, Any], kind: str, node: str
) -> None:
    environment, _ = ray_start(config, node)
    for name in OWN_HEAD if (kind, node) == ("onprem", "head") else ():
        environment.pop(name)
    assert environment == {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}


@rented
def test_drivers_started_by_ray_exec_have_token_authentication_and_no_usage_statistics(config: dict[str, Any]) -> None:
    assert {"-e RAY_AUTH_MODE=token", "-e RAY_USAGE_STATS_ENABLED=0"} <= set(config["docker"]["run_options"])


@own
def test_drivers_on_own_hosts_have_them_from_the_login_shell(config: dict[str, Any]) -> None:
    (line,) = (line for line in config["setup_commands"] if ".bashrc" in line)
    (exported,) = re.findall(r"echo 'export (.+)' >> ~/.bashrc", line)
    assert exported.split()[1:] == ["RAY_AUTH_MODE=token", "RAY_USAGE_STATS_ENABLED=0"]


OWN_HEAD = {
    "RAY_enable_autoscaler_v2": "0", "RAY_health_check_period_ms": "1000", "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}  # fmt: skip
"""Version 2 of Ray 2.60 starts one worker too few; a host that is off is noticed in seconds."""


@own
def test_the_head_of_own_hosts_starts_every_worker_takes_no_work_and_notices_a_lost_one(config: dict[str, Any]) -> None:
    environment, arguments = ray_start(config, "head")
    assert OWN_HEAD.items() <= environment.items()
    assert {"--num-cpus=0", "--num-gpus=0"} <= set(arguments)
    assert config["max_workers"] == len(config["provider"]["worker_ips"])


@every
def test_the_token_is_delivered_as_a_file_where_ray_looks_and_stands_nowhere(config: dict[str, Any]) -> None:
    remote = "~/.ray/auth_token"
    assert Path(remote).expanduser() == _get_default_token_path()
    assert config["file_mounts"][remote] == remote
    assert not any("RAY_AUTH_TOKEN" in text for text in strings(config))


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


@rented
def test_the_one_docker_image_is_pinned_to_the_ray_of_the_lock(config: dict[str, Any]) -> None:
    assert {key for key in config["docker"] if "image" in key} == {"image"}
    assert not any("docker" in kind for kind in config["available_node_types"].values())
    pinned = re.fullmatch(r"rayproject/ray:(\d+\.\d+\.\d+)-py311-gpu", config["docker"]["image"])
    assert pinned
    constraints = PROJECT / "constraints.txt"
    if constraints.exists():
        assert re.findall(r"(?m)^ray==([^\s;]+)", constraints.read_text()) == [pinned[1]]
    else:
        dependencies = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["dependencies"]
        (requirement,) = (item for item in map(Requirement, dependencies) if item.name == "ray")
        assert Version(pinned[1]) in requirement.specifier


def test_every_node_type_has_an_instance_profile_and_workers_not_the_heads(config: dict[str, Any]) -> None:
    profiles = {name: config["available_node_types"][name]["node_config"]["IamInstanceProfile"] for name in TYPES}
    assert profiles == {
        "head": {"Name": "mia-study-head"},
        "gpu_spot": {"Name": "mia-study-worker"},
        "gpu_on_demand": {"Name": "mia-study-worker"},
    }


def test_on_gcp_workers_have_a_service_account_that_is_not_the_heads() -> None:
    types = yaml.safe_load(TEXTS["gcp"])["available_node_types"]
    for name in WORKERS:
        (account,) = types[name]["node_config"]["serviceAccounts"]
        assert account["email"].startswith("mia-study-worker@")
    assert "serviceAccounts" not in types["head"]["node_config"]  # Ray gives it its own


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


def test_disks_are_encrypted_and_instance_credentials_need_a_session_token(config: dict[str, Any]) -> None:
    for name in TYPES:
        node = config["available_node_types"][name]["node_config"]
        assert [disk["Ebs"]["Encrypted"] for disk in node["BlockDeviceMappings"]] == [True]
        assert node["MetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}


def test_every_node_has_the_clusters_own_key_and_a_fixed_system_image(config: dict[str, Any]) -> None:
    # Ray would make a key shared by all clusters, and take a system image of 2022.
    for name in TYPES:
        node = config["available_node_types"][name]["node_config"]
        assert node["KeyName"] == "mia-study"
        assert re.fullmatch(r"ami-[0-9a-f]{17}", node["ImageId"])


INSTALL = "pip install -c constraints.txt -e '.[s3]'"
SETUP = {
    "aws": ([f"cd ~/mia-study && {INSTALL}"],) * 2,
    "gcp": (
        [f"cd ~/mia-study && {INSTALL}", "pip install google-api-python-client"],
        [f"cd ~/mia-study && {INSTALL}"],
    ),
}
"""Of the head, where GCP's autoscaler needs its client, and of workers."""


@rented
def test_setup_only_installs_the_locked_project_where_it_is_copied(config: dict[str, Any], kind: str) -> None:
    assert (config["head_setup_commands"], config["worker_setup_commands"]) == SETUP[kind]
    assert config["file_mounts"]["~/mia-study"] == "."


@own
def test_setup_of_own_hosts_installs_the_locked_project_into_an_environment_of_its_own(config: dict[str, Any]) -> None:
    assert config["head_setup_commands"] == config["worker_setup_commands"]
    _, line = config["head_setup_commands"]
    begin, _, end = INSTALL.partition(" install")
    assert line.startswith("cd ~/mia-study && { [ -x .venv/bin/python ] || python3.11 -m venv .venv; } && ")
    assert line.endswith(f".venv/bin/python -m {begin} install -q{end}")


@every
def test_the_project_is_copied_without_history_environment_or_results(config: dict[str, Any]) -> None:
    assert set(config["file_mounts"]) == {"~/mia-study", "~/.ray/auth_token"}
    assert {".git", ".venv", "results", "mlflow.db*"} <= set(config["rsync_exclude"])


@every
def test_no_exclusion_keeps_key_or_token_from_the_head(config: dict[str, Any]) -> None:
    # rsync applies exclusions to the single files it is given too, and without the key the head starts no worker.
    for path in (config["auth"]["ssh_private_key"], *config["file_mounts"].values()):
        assert not any(fnmatch(Path(path).name, pattern) for pattern in config["rsync_exclude"])


@every
def test_the_clusters_key_is_its_own(config: dict[str, Any], text: str) -> None:
    # `ray up` copies it to the head.
    assert config["auth"]["ssh_private_key"] == "~/.ssh/mia-study.pem"
    assert "for this cluster only" in text


@rented
def test_the_results_folder_of_the_command_is_the_shared_mount_in_every_container(
    config: dict[str, Any], text: str
) -> None:
    (results,) = re.findall(r"--set results=(/[\w/]+)'", text)
    assert f"-v {results}:{results}" in config["docker"]["run_options"]
    (mount,) = (line for line in config["initialization_commands"] if "sudo mount " in line)
    assert mount.endswith(f" {results}")
    assert re.search(r"-t nfs4? -o \S*\bhard\b", mount)


@own
def test_an_own_host_without_the_shared_storage_is_refused(config: dict[str, Any], text: str) -> None:
    (results,) = re.findall(r"--set results=(/[\w/]+)'", text)
    assert config["initialization_commands"] == [f"mountpoint -q {results}"]


@every
def test_the_file_names_no_place_of_one_machine(config: dict[str, Any], text: str) -> None:
    for words in (text, *strings(config)):
        assert not re.search(r"/(home|root|Users|work|tmp)\b", words)

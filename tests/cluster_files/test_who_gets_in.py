"""Who gets into a cluster: addresses, firewalls, tokens, keys and roles."""

import re
from fnmatch import fnmatch
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray._private.authentication.authentication_token_setup import _get_default_token_path

from tests.cluster_files.files import OWN_HEAD, TEXT, TEXTS, TYPES, WORKERS, every, own, ray_start, rented, strings


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


@every
def test_the_token_is_delivered_as_a_file_where_ray_looks_and_stands_nowhere(config: dict[str, Any]) -> None:
    remote = "~/.ray/auth_token"
    assert Path(remote).expanduser() == _get_default_token_path()
    assert config["file_mounts"][remote] == remote
    assert not any("RAY_AUTH_TOKEN" in text for text in strings(config))


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

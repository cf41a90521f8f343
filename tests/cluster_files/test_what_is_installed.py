"""What lies and is installed on the nodes of a cluster."""

import re
import tomllib
from typing import Any

from packaging.requirements import Requirement
from packaging.version import Version

from tests.cluster_files.files import PROJECT, every, own, rented, strings


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

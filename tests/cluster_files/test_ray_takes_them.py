"""Ray's own validator takes each cluster file, and nothing is left to its defaults."""

import socket
from pathlib import Path
from typing import Any

import pytest
import ray.autoscaler
import yaml
from jsonschema import ValidationError
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.cluster_files.files import TYPES, every, mappings, rented


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
